//! Which sessions end for others.
//!
//! Nobody closes a session: its client may be cut off and come back. So sessions end when there are too many, and then
//! those end first that nobody misses. A client (see [`SessionClient`]) that has as many as one may have gets another only in the place of
//! one of its own that was not used for long, and is refused while it uses all of them; so nobody ends another's by opening many. Where
//! clients together have too many, the session ends that was not used for longest, or, if all of them are in use, one of the client that has most. Answers
//! that take too much memory end the largest session of the client whose answers take most. An entry ends one session at most
//! for each of these reasons.

use std::collections::BTreeMap;

use imbl::OrdSet;

use super::super::command::KvError;
use super::super::store::Store;
use super::facts::{SessionClient, SessionId};
use super::table::Sessions;

impl Sessions {
    fn used_at_ms(&self, id: SessionId) -> u64 {
        self.open.get(&id).map_or(0, |session| session.facts.used_at_ms)
    }

    /// The session that was not used for longest, and when it was; of several the oldest.
    fn unused_for_longest(&mut self) -> Option<(u64, SessionId)> {
        loop {
            let (known_ms, id) = self.room.by_use.get_min().copied()?;
            let used_at_ms = self.used_at_ms(id);
            if used_at_ms == known_ms {
                return Some((used_at_ms, id));
            }
            self.room.by_use.remove(&(known_ms, id));
            self.room.by_use.insert((used_at_ms, id));
            self.room.known_use_ms.insert(id, used_at_ms);
        }
    }

    /// The same among a client's, if that was before `before_ms`.
    fn unused_of_client(&mut self, client: SessionClient, before_ms: u64) -> Option<SessionId> {
        let of_client = self.room.by_client.get(&client)?;
        if of_client.unused_since_ms >= before_ms {
            return None;
        }
        let (used_at_ms, id) = self.oldest_of(&of_client.sessions)?;
        self.room.by_client.get_mut(&client)?.unused_since_ms = used_at_ms;
        (used_at_ms < before_ms).then_some(id)
    }

    fn oldest_of(&self, sessions: &OrdSet<SessionId>) -> Option<(u64, SessionId)> {
        sessions.iter().map(|id| (self.used_at_ms(*id), *id)).min()
    }

    /// The oldest session of the client that has most.
    fn unused_of_largest_client(&self) -> Option<SessionId> {
        let clients = self.room.by_client.values();
        let largest = clients.max_by_key(|of_client| of_client.sessions.len())?;
        self.oldest_of(&largest.sessions).map(|(_, id)| id)
    }

    /// The largest session of the client whose answers take most, but for one session.
    fn heaviest(&self, except: SessionId) -> Option<SessionId> {
        let others = || self.open.iter().filter(|(id, _)| **id != except);
        let mut by_client = BTreeMap::<SessionClient, u64>::new();
        for (_, session) in others() {
            *by_client.entry(session.facts.client).or_default() += session.bytes;
        }
        let (client, _) = by_client.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        let of_client = others().filter(|(_, session)| session.facts.client == client);
        of_client.max_by_key(|(_, session)| session.bytes).map(|(id, _)| *id)
    }
}

impl Store {
    /// Ends a session if there are as many as there may be, or refuses another to a client that uses all it may have.
    pub(super) fn make_room_for_session(&mut self, client: SessionClient) -> Result<(), KvError> {
        let limits = self.limits;
        let idle_before_ms = self.time_ms.saturating_sub(limits.session_idle_ms);
        let of_client = self.sessions.room.by_client.get(&client).map_or(0, |own| own.sessions.len());
        if of_client >= limits.sessions_per_client_max {
            let max = limits.sessions_per_client_max as u64;
            let unused = self.sessions.unused_of_client(client, idle_before_ms);
            self.end_session(unused.ok_or(KvError::TooManySessions { max })?);
        }
        if self.sessions.open.len() >= limits.sessions_max {
            let idle =
                self.sessions.unused_for_longest().filter(|(used_at_ms, _)| *used_at_ms < idle_before_ms);
            let ended = idle.map(|(_, id)| id).or_else(|| self.sessions.unused_of_largest_client());
            if let Some(id) = ended {
                self.end_session(id);
            }
        }
        Ok(())
    }

    /// Ends a session if answers take more than they may; not the one that remembers one more just now.
    pub(in super::super) fn make_room_for_answers(&mut self, except: SessionId) {
        if self.sessions.bytes <= self.limits.sessions_bytes_max {
            return;
        }
        if let Some(id) = self.sessions.heaviest(except) {
            self.end_session(id);
        }
    }
}
