//! Sessions: a command that a client sends again is applied once and gets the first answer (Raft thesis section 6.3).
//!
//! A client opens a session through the log and numbers its commands in it. The store remembers the answer to each
//! until the client says, with a later command, that it has it. So a command may be sent again after any failure, to
//! any node, for as long as the session lives.

mod ending;
pub(super) mod facts;
mod room;
pub(super) mod table;
mod weight;

use std::sync::Arc;

use imbl::OrdMap;

use super::command::{KvError, Outcome, Response};
use super::hash::{ContentHash, RecordHash};
use super::store::Store;
use facts::{InSession, SessionClient, SessionFacts, SessionId};
use table::{Admission, Remembered, Session};

impl Store {
    /// Opens a session for a client, unless it has too many.
    pub(super) fn open_session(&mut self, client: SessionClient) -> Result<Outcome, KvError> {
        self.make_room_for_session(client)?;
        self.sessions.opened += 1;
        let id = SessionId(self.sessions.opened);
        self.insert_session(id, SessionFacts { client, settled_below: 0, used_at_ms: self.time_ms });
        Ok(Outcome::SessionOpened(id))
    }

    /// Whether a command is to be applied, and no repetition of one that was. Forgets the answers that are settled.
    pub(super) fn admit(&mut self, command: InSession) -> Result<Admission, KvError> {
        let InSession { session: id, sequence, settled_below } = command;
        let time_ms = self.time_ms;
        let Some(session) = self.sessions.open.get_mut(&id) else { return Err(KvError::SessionNotFound(id)) };
        let before = session.facts;
        session.facts.used_at_ms = time_ms;
        session.facts.settled_below = before.settled_below.max(settled_below);
        let after = session.facts;
        let (settled, settled_bytes) = session.forget_settled();
        let result = session.admission(id, sequence);
        self.sessions.bytes -= settled_bytes;
        if after != before {
            self.record_went(RecordHash::of_session(id, &before));
            self.record_came(RecordHash::of_session(id, &after));
        }
        self.records_went(settled);
        result
    }

    /// Remembers the answer to a command that was admitted.
    pub(super) fn remember(&mut self, command: InSession, answer: Response) {
        let InSession { session: id, sequence, settled_below: _ } = command;
        let Some(session) = self.sessions.open.get_mut(&id) else { return };
        let remembered = Remembered::new(id, sequence, answer);
        let (bytes, hash) = (remembered.bytes, remembered.hash);
        let replaced = session.answers.insert(sequence, Arc::new(remembered));
        assert!(replaced.is_none(), "command {sequence} of session {id:?} is applied twice");
        session.bytes += bytes;
        self.sessions.bytes += bytes;
        self.record_came(hash);
    }

    /// Whether a session remembers the answer to a command.
    pub(super) fn has_answered(&self, id: SessionId, sequence: u64) -> bool {
        self.sessions.open.get(&id).is_some_and(|session| session.answers.contains_key(&sequence))
    }

    /// Adds a session as it was.
    pub(super) fn insert_session(&mut self, id: SessionId, facts: SessionFacts) -> bool {
        let session = Session { facts, answers: OrdMap::new(), bytes: 0 };
        let is_new = self.sessions.open.insert(id, session).is_none();
        if is_new {
            self.sessions.room.session_came(id, &facts);
            self.record_came(RecordHash::of_session(id, &facts));
        }
        is_new
    }

    /// Takes all sessions for used just now.
    pub(super) fn use_all_sessions(&mut self) {
        let ids: Vec<_> = self.sessions.open.keys().copied().collect();
        for session in ids {
            let _ = self.admit(InSession { session, sequence: 0, settled_below: 0 });
        }
    }

    /// Sets how many sessions were ever opened.
    pub(super) fn set_sessions_opened(&mut self, opened: u64) {
        self.sessions.opened = opened;
    }

    /// Ends a session: its answers are forgotten.
    fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.open.remove(&id) else { return };
        self.sessions.room.session_went(id, &session.facts);
        self.sessions.bytes -= session.bytes;
        let mut answers = ContentHash::default();
        for remembered in session.answers.values() {
            answers.add(remembered.hash);
        }
        self.records_went(answers);
        self.record_went(RecordHash::of_session(id, &session.facts));
    }
}
