//! Sessions: a command that a client sends again is applied once and gets the first answer (Raft thesis section 6.3).
//!
//! A client opens a session through the log and numbers its commands in it. The store remembers the answer to each
//! until the client says, with a later command, that it has it. So a command may be sent again after any failure, to
//! any node, for as long as the session lives.

mod room;
mod weight;

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{KvError, Outcome, Response};
use super::hash::{ContentHash, RecordHash};
use super::store::Store;
use room::Room;
use weight::weight;

/// How many answers of one session are remembered at most. A command beyond is refused: so many can't be under way.
pub const SESSION_ANSWERS_MAX: usize = 8_192;
/// About how many bytes of answers one session may have remembered before it must settle some. An answer that alone takes more is
/// given once and not remembered.
pub const SESSION_BYTES_MAX: u64 = 16 << 20;

/// A session's id: how many were opened, counting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Whose a session is, as far as its node can tell clients apart: the number of sessions is bounded for each.
///
/// What it is, the one says who proposes: every replica has it from the entry that opened the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionClient(pub u128);

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
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    open: OrdMap<SessionId, Session>,
    opened: u64,
    bytes: u64,
    room: Room,
}

/// What a session says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionFacts {
    pub(super) client: SessionClient,
    pub(super) settled_below: u64,
    pub(super) used_at_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) facts: SessionFacts,
    answers: OrdMap<u64, Arc<Remembered>>,
    bytes: u64,
}

/// An answer, with what it was counted as.
#[derive(Debug)]
struct Remembered {
    answer: Response,
    bytes: u64,
    hash: RecordHash,
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

    /// All of them, by id ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.open.iter().map(|(id, session)| (*id, session))
    }
}

impl Session {
    /// The answers that are remembered, by number.
    pub(super) fn answers(&self) -> impl Iterator<Item = (u64, &Response)> {
        self.answers.iter().map(|(sequence, remembered)| (*sequence, &remembered.answer))
    }
}

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

impl Session {
    /// Forgets the answers that are settled; returns their hashes and how many bytes they took.
    fn forget_settled(&mut self) -> (ContentHash, u64) {
        let (mut hashes, mut bytes) = (ContentHash::default(), 0);
        while let Some(&(first, ref remembered)) =
            self.answers.get_min().filter(|(first, _)| *first < self.facts.settled_below)
        {
            hashes.add(remembered.hash);
            bytes += remembered.bytes;
            self.answers.remove(&first);
        }
        self.bytes -= bytes;
        (hashes, bytes)
    }

    fn admission(&self, id: SessionId, sequence: u64) -> Result<Admission, KvError> {
        if let Some(remembered) = self.answers.get(&sequence) {
            return Ok(Admission::Repeat(remembered.answer.clone()));
        }
        if sequence < self.facts.settled_below {
            return Err(KvError::SessionCommandSettled { session: id, sequence });
        }
        if self.answers.len() >= SESSION_ANSWERS_MAX || self.bytes >= SESSION_BYTES_MAX {
            return Err(KvError::SessionFull(id));
        }
        Ok(Admission::Apply)
    }
}

impl Remembered {
    fn new(session: SessionId, sequence: u64, answer: Response) -> Self {
        let bytes = weight(&answer);
        if bytes > SESSION_BYTES_MAX {
            let too_large = KvError::SessionAnswerTooLarge { session, sequence };
            return Self::new(session, sequence, Response { result: Err(too_large), ..answer });
        }
        let hash = RecordHash::of_answer(session, sequence, &answer);
        Self { answer, bytes, hash }
    }
}
