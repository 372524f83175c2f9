//! Applying commands.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::command::{Command, KvError, Outcome, Response};
use super::limits::StoreLimits;
use super::planted::PlantedBug;
use super::session::facts::InSession;
use super::session::table::Admission;
use super::snapshot::{self, SnapshotPart};
use super::store::Store;
use super::view::KvView;
use crate::machine::{Committed, RestoreError, StateMachine};

/// The key-value machine.
///
/// An entry is applied in four steps: leases whose deadline has come by the entry's time end, as many as one entry may end, the
/// command is done, history that is over is compacted, and a bounded piece of compacted history is taken out. A command that is refused has
/// changed nothing, but the other steps have happened.
#[derive(Debug, Default)]
pub struct KvMachine {
    store: Store,
}

impl KvMachine {
    /// An empty machine that makes a mistake.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn with_planted_bug(bug: Option<PlantedBug>) -> Self {
        let mut machine = Self::default();
        machine.store.plant(bug.into());
        machine
    }

    /// Keeps to other limits; all replicas must be told the same.
    #[must_use]
    pub fn with_limits(mut self, limits: StoreLimits) -> Self {
        self.store.limits = limits;
        self
    }

    fn entry<Answer>(&mut self, time_ms: u64, apply: impl FnOnce(&mut Store) -> Answer) -> Answer {
        let before = self.store.history.written();
        self.store.advance_time(time_ms);
        let answer = apply(&mut self.store);
        self.store.retain();
        self.store.forget_some(before);
        answer
    }
}

impl StateMachine for KvMachine {
    type Response = Response;
    type View = KvView;
    type Part = SnapshotPart;

    fn apply(&mut self, entry: &Committed) -> Response {
        self.entry(entry.time_ms, |store| match InSession::split(&entry.command) {
            Ok((None, command)) => answer(store, |store| apply_command(store, Command::decode(&command)?)),
            Ok((Some(place), command)) => apply_in_session(store, place, &command),
            Err(error) => answer(store, |_| Err(error)),
        })
    }

    fn advance_time(&mut self, _index: u64, time_ms: u64) {
        self.entry(time_ms, |_| ());
    }

    fn wake_at_ms(&self) -> Option<u64> {
        let lease_ms = self.store.leases.next_to_expire().map(|(deadline_ms, _)| deadline_ms);
        let retention_ms = self.store.retained.wake_at_ms(self.store.revision);
        lease_ms.into_iter().chain(retention_ms).min()
    }

    fn view(&self) -> KvView {
        KvView::of(self.store.clone())
    }

    fn state_hash(&self) -> u128 {
        self.store.state_hash()
    }

    fn write_snapshot(view: &KvView, writer: &mut dyn Write) -> io::Result<()> {
        snapshot::write(view.store(), writer)
    }

    fn read_snapshot(
        reader: &mut (dyn Read + Send),
    ) -> impl Iterator<Item = Result<SnapshotPart, RestoreError>> + Send {
        snapshot::parts(reader)
    }

    fn restore_parts(
        &mut self,
        parts: impl Iterator<Item = Result<SnapshotPart, RestoreError>>,
    ) -> Result<(), RestoreError> {
        let Store { limits, planted, .. } = self.store;
        self.store = snapshot::rebuild(parts)?;
        self.store.limits = limits;
        self.store.plant(planted);
        Ok(())
    }
}

fn answer(store: &mut Store, apply: impl FnOnce(&mut Store) -> Result<Outcome, KvError>) -> Response {
    let result = apply(store);
    Response { revision: store.revision, result }
}

/// Applies a command, or gives the answer of when it was applied.
fn apply_in_session(store: &mut Store, place: InSession, command: &Bytes) -> Response {
    match store.admit(place) {
        Ok(Admission::Apply) => {
            let answer = answer(store, |store| {
                let command = Command::decode(command)?;
                if matches!(command, Command::OpenSession { .. }) {
                    return Err(KvError::UnknownCommand("a session in a session".into()));
                }
                apply_command(store, command)
            });
            store.remember(place, answer.clone());
            store.make_room_for_answers(place.session);
            answer
        }
        Ok(Admission::Repeat(_)) if store.planted.is(PlantedBug::SessionRepeatApplied) => {
            answer(store, |store| apply_command(store, Command::decode(command)?))
        }
        Ok(Admission::Repeat(answer)) if store.planted.is(PlantedBug::SessionAnswerOfNow) => {
            Response { revision: store.revision, ..answer }
        }
        Ok(Admission::Repeat(answer)) => answer,
        Err(error) => answer(store, |_| Err(error)),
    }
}

fn apply_command(store: &mut Store, command: Command) -> Result<Outcome, KvError> {
    match command {
        Command::Put(request) => {
            store.check_lease(&request)?;
            store.check_key(&request)?;
            Ok(Outcome::Put(store.change(|store, at| store.put(at, &request))))
        }
        Command::Delete(request) => Ok(Outcome::Delete(store.change(|store, at| store.delete(at, &request)))),
        Command::Txn(request) => store.txn(request).map(Outcome::Txn),
        Command::Compact { revision } => store.compact(revision),
        Command::LeaseGrant { id, ttl_seconds } => store.grant_lease(id, ttl_seconds),
        Command::LeaseRevoke { id } => store.revoke_lease(id),
        Command::LeaseRenew { ids } => Ok(store.renew_leases(&ids)),
        Command::OpenSession { client } => store.open_session(client),
        Command::SetRetention(retention) => Ok(store.set_retention(retention)),
    }
}
