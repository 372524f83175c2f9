//! The second half of reading a snapshot: from parts to a store.

use super::super::command::{LeaseId, Response};
use super::super::history::History;
use super::super::lease::LEASE_TTL_SECONDS_MAX;
use super::super::session::facts::{InSession, SessionFacts, SessionId};
use super::super::store::{OutOfOrder, Store};
use super::part::{Header, Piece, ReadVersion, SnapshotPart};
use super::record::{damaged, require};
use crate::machine::RestoreError;

/// Makes a store of all parts of a snapshot.
pub(in super::super) fn rebuild(
    parts: impl Iterator<Item = Result<SnapshotPart, RestoreError>>,
) -> Result<Store, RestoreError> {
    let mut store = Store::default();
    let mut session = None;
    let mut some_are_leased = false;
    for part in parts {
        let part = part?;
        store.account_for_all(part.tally);
        some_are_leased |= part.some_are_leased;
        for piece in part.pieces {
            add(&mut store, &mut session, piece)?;
        }
        if let Some(state_hash) = part.state_hash {
            if some_are_leased {
                attach_keys_to_leases(&mut store)?;
            }
            return checked(store, state_hash);
        }
    }
    Err(damaged("it ends early"))
}

fn add(store: &mut Store, session: &mut Option<InSession>, piece: Piece) -> Result<(), RestoreError> {
    match piece {
        Piece::Header(header) => set_counters(store, header),
        Piece::History { written_bytes, owed, retention } => {
            store.history = History::starting_at(store.history.first_sequence(), written_bytes);
            store.owed = owed;
            store.set_retention(retention);
        }
        Piece::Mark(mark) => store.add_mark(mark),
        Piece::Lease { id, granted_ttl_seconds, expires_at_ms } => {
            add_lease(store, id, granted_ttl_seconds, expires_at_ms)?;
        }
        Piece::Session { id, facts } => *session = Some(add_session(store, id, facts)?),
        Piece::Answer { sequence, answer } => add_answer(store, *session, sequence, *answer)?,
        Piece::Base(ReadVersion { key, version, .. }) => {
            let inserted = store.insert_base(key, version);
            inserted.map_err(|OutOfOrder| damaged("a key has two versions older than history"))?;
        }
        Piece::Change(ReadVersion { key, version, number }) => {
            let inserted = store.insert_change(key, version, number);
            inserted.map_err(|OutOfOrder| damaged("a key's changes are out of order"))?;
        }
    }
    Ok(())
}

fn set_counters(store: &mut Store, header: Header) {
    store.history = History::starting_at(header.history_first_sequence, 0);
    store.revision = header.revision;
    store.compacted = header.compacted;
    store.stripped = header.stripped;
    store.time_ms = header.time_ms;
    store.set_sessions_opened(header.sessions_opened);
}

fn add_lease(
    store: &mut Store,
    id: LeaseId,
    ttl_seconds: i64,
    expires_at_ms: u64,
) -> Result<(), RestoreError> {
    require(id.0 != 0 && store.leases.get(id).is_none(), "a lease id is 0 or not unique")?;
    require((1..=LEASE_TTL_SECONDS_MAX).contains(&ttl_seconds), "a lease's time to live is out of bounds")?;
    store.insert_lease(id, ttl_seconds, expires_at_ms);
    Ok(())
}

fn add_session(store: &mut Store, id: SessionId, facts: SessionFacts) -> Result<InSession, RestoreError> {
    require((1..=store.sessions.opened()).contains(&id.0), "a session was never opened")?;
    require(store.insert_session(id, facts), "a session's id is not unique")?;
    Ok(InSession { session: id, sequence: 0, settled_below: facts.settled_below })
}

fn add_answer(
    store: &mut Store,
    session: Option<InSession>,
    sequence: u64,
    answer: Response,
) -> Result<(), RestoreError> {
    let session = session.ok_or_else(|| damaged("an answer is in no session"))?;
    require(sequence >= session.settled_below, "a session remembers an answer that is settled")?;
    require(!store.has_answered(session.session, sequence), "a command has two answers")?;
    store.remember(InSession { sequence, ..session }, answer);
    Ok(())
}

fn attach_keys_to_leases(store: &mut Store) -> Result<(), RestoreError> {
    let Store { keys, leases, .. } = store;
    for version in keys.values().map(|versions| versions.newest().parts()) {
        if let Some(lease) = version.lease {
            require(leases.get(lease).is_some(), "a key is attached to a lease that is missing")?;
            leases.attach(lease, version.key);
        }
    }
    Ok(())
}

fn checked(store: Store, expected_hash: u128) -> Result<Store, RestoreError> {
    let hash = store.state_hash();
    if hash != expected_hash {
        return Err(damaged(&format!("its contents hash to {hash:032x} instead of {expected_hash:032x}")));
    }
    Ok(store)
}
