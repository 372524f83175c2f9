//! Sessions: a command that a client sends again is applied once and gets the first answer (Raft thesis section 6.3).
//!
//! A client opens a session through the log and numbers its commands in it. The store remembers the answer to each
//! until the client says, with a later command, that it has it. So a command may be sent again after any failure, to
//! any node, for as long as the session lives.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{KeyValue, KvError, Outcome, Response, TxnOpResponse, TxnResponse};
use super::hash::RecordHash;
use super::store::Store;

/// How many sessions there are at most, unless the machine is told otherwise. One more ends that which was not used for
/// longest.
pub const SESSIONS_MAX: usize = 10_000;
/// How many answers of one session are remembered at most. A command beyond is refused: so many can't be under way.
pub const SESSION_ANSWERS_MAX: usize = 8_192;
/// About how many bytes of answers one session may have remembered.
const SESSION_BYTES_MAX: u64 = 16 << 20;
/// About how many bytes of answers are remembered of all sessions. More ends those that were not used for longest.
const SESSIONS_BYTES_MAX: u64 = 256 << 20;
/// About what an answer takes beside the keys and values in it.
const ANSWER_OVERHEAD_BYTES: u64 = 128;

/// A session's id: how many were opened, counting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// The place of a command in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSession {
    /// The session.
    pub session: SessionId,
    /// The command's number, which a repetition keeps. Numbers may be used in any order, each for one command.
    pub sequence: u64,
    /// The client has the answers to all numbers below this, and uses none of them again.
    pub settled_below: u64,
}

/// All sessions.
///
/// Invariants: every answer's number is at or above its session's `settled_below`; `bytes` is the sum over sessions.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    open: OrdMap<SessionId, Session>,
    opened: u64,
    bytes: u64,
    max: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { open: OrdMap::new(), opened: 0, bytes: 0, max: SESSIONS_MAX }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) settled_below: u64,
    pub(super) used_at_ms: u64,
    answers: OrdMap<u64, Arc<Response>>,
    bytes: u64,
}

/// Whether a command is to be applied.
pub(super) enum Admission {
    /// It is new.
    Apply,
    /// It was applied before, with this answer.
    Repeat(Response),
}

impl Sessions {
    /// How many were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// How many there are at most.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Sets how many there are at most, from the next one on that is opened.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// All of them, by id ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.open.iter().map(|(id, session)| (*id, session))
    }

    fn unused_for_longest(&self, except: SessionId) -> Option<SessionId> {
        let others = self.iter().filter(|(id, _)| *id != except);
        others.min_by_key(|(id, session)| (session.used_at_ms, *id)).map(|(id, _)| id)
    }
}

impl Session {
    /// The answers that are remembered, by number.
    pub(super) fn answers(&self) -> impl Iterator<Item = (u64, &Response)> {
        self.answers.iter().map(|(sequence, answer)| (*sequence, &**answer))
    }
}

impl Store {
    /// Opens a session.
    pub(super) fn open_session(&mut self) -> Outcome {
        self.sessions.opened += 1;
        let id = SessionId(self.sessions.opened);
        self.insert_session(id, 0, self.time_ms);
        while self.sessions.open.len() > self.sessions.max && self.end_oldest_session(id) {}
        Outcome::SessionOpened(id)
    }

    /// Whether a command is to be applied, and no repetition of one that was. Forgets the answers that are settled.
    pub(super) fn admit(&mut self, command: InSession) -> Result<Admission, KvError> {
        let InSession { session: id, sequence, settled_below } = command;
        let time_ms = self.time_ms;
        let Some(session) = self.sessions.open.get_mut(&id) else { return Err(KvError::SessionNotFound(id)) };
        session.used_at_ms = time_ms;
        session.settled_below = session.settled_below.max(settled_below);
        let settled_below = session.settled_below;
        let mut forgotten = Vec::new();
        while let Some(first) =
            session.answers.get_min().map(|(first, _)| *first).filter(|first| *first < settled_below)
        {
            forgotten.extend(session.answers.remove(&first).map(|answer| (first, answer)));
        }
        for (sequence, answer) in forgotten {
            self.answer_forgotten(id, sequence, &answer);
        }
        let Some(session) = self.sessions.open.get(&id) else { return Err(KvError::SessionNotFound(id)) };
        if let Some(answer) = session.answers.get(&sequence) {
            return Ok(Admission::Repeat(Response::clone(answer)));
        }
        if sequence < session.settled_below {
            return Err(KvError::SessionCommandSettled { session: id, sequence });
        }
        if session.answers.len() >= SESSION_ANSWERS_MAX || session.bytes >= SESSION_BYTES_MAX {
            return Err(KvError::SessionFull(id));
        }
        Ok(Admission::Apply)
    }

    /// Remembers the answer to a command that was admitted.
    pub(super) fn remember(&mut self, command: InSession, answer: Response) {
        let InSession { session: id, sequence, settled_below: _ } = command;
        let Some(session) = self.sessions.open.get_mut(&id) else { return };
        let (bytes, hash) = (weight(&answer), RecordHash::of_answer(id, sequence, answer.revision));
        let replaced = session.answers.insert(sequence, Arc::new(answer));
        assert!(replaced.is_none(), "command {sequence} of session {id:?} is applied twice");
        session.bytes += bytes;
        self.sessions.bytes += bytes;
        self.record_came(hash);
        while self.sessions.bytes > SESSIONS_BYTES_MAX && self.end_oldest_session(id) {}
    }

    /// Whether a session remembers the answer to a command.
    pub(super) fn has_answered(&self, id: SessionId, sequence: u64) -> bool {
        self.sessions.open.get(&id).is_some_and(|session| session.answers.contains_key(&sequence))
    }

    /// Adds a session as it was.
    pub(super) fn insert_session(&mut self, id: SessionId, settled_below: u64, used_at_ms: u64) -> bool {
        let session = Session { settled_below, used_at_ms, answers: OrdMap::new(), bytes: 0 };
        let is_new = self.sessions.open.insert(id, session).is_none();
        if is_new {
            self.record_came(RecordHash::of_session(id));
        }
        is_new
    }

    /// Sets how many sessions were ever opened.
    pub(super) fn set_sessions_opened(&mut self, opened: u64) {
        self.sessions.opened = opened;
    }

    /// Ends the session that was not used for longest, of all but one. Returns whether there was one.
    fn end_oldest_session(&mut self, except: SessionId) -> bool {
        let Some(id) = self.sessions.unused_for_longest(except) else { return false };
        if let Some(session) = self.sessions.open.remove(&id) {
            for (sequence, answer) in session.answers() {
                self.record_went(RecordHash::of_answer(id, sequence, answer.revision));
            }
            self.sessions.bytes -= session.bytes;
            self.record_went(RecordHash::of_session(id));
        }
        true
    }

    fn answer_forgotten(&mut self, id: SessionId, sequence: u64, answer: &Response) {
        let bytes = weight(answer);
        self.sessions.bytes -= bytes;
        if let Some(session) = self.sessions.open.get_mut(&id) {
            session.bytes -= bytes;
        }
        self.record_went(RecordHash::of_answer(id, sequence, answer.revision));
    }
}

/// About how many bytes an answer takes.
fn weight(answer: &Response) -> u64 {
    let contents = match &answer.result {
        Ok(Outcome::Put(put)) => put.prev_kv.as_deref().map_or(0, weight_of_kv),
        Ok(Outcome::Delete(delete)) => delete.prev_kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        Ok(Outcome::Txn(txn)) => weight_of_txn(txn),
        Ok(Outcome::LeaseRenew(leases)) => leases.len() as u64 * 16,
        Ok(
            Outcome::Compact | Outcome::LeaseGrant { .. } | Outcome::LeaseRevoke | Outcome::SessionOpened(_),
        )
        | Err(_) => 0,
    };
    ANSWER_OVERHEAD_BYTES + contents
}

fn weight_of_txn(txn: &TxnResponse) -> u64 {
    let of_step = |step: &TxnOpResponse| match step {
        TxnOpResponse::Range(range) => range.kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        TxnOpResponse::Put(put) => put.prev_kv.as_deref().map_or(0, weight_of_kv),
        TxnOpResponse::Delete(delete) => delete.prev_kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        TxnOpResponse::Txn(nested) => weight_of_txn(nested),
    };
    txn.responses.iter().map(|step| ANSWER_OVERHEAD_BYTES + of_step(step)).sum()
}

fn weight_of_kv(kv: &KeyValue) -> u64 {
    ANSWER_OVERHEAD_BYTES + (kv.key.len() + kv.value.len()) as u64
}
