//! All sessions, with the answers that they remember.

use std::sync::Arc;

use imbl::OrdMap;

use super::super::command::{KvError, Response};
use super::super::hash::{ContentHash, RecordHash};
use super::facts::{SessionFacts, SessionId};
use super::room::Room;
use super::weight::weight;

/// How many answers of one session are remembered at most. A command beyond is refused: so many can't be under way.
pub const SESSION_ANSWERS_MAX: usize = 8_192;
/// About how many bytes of answers one session may have remembered before it must settle some. An answer that alone takes more is
/// given once and not remembered.
pub const SESSION_BYTES_MAX: u64 = 16 << 20;

/// All sessions.
///
/// Invariants: every answer's number is at or above its session's `settled_below`; `bytes` is the sum over sessions.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Sessions {
    pub(super) open: OrdMap<SessionId, Session>,
    pub(super) opened: u64,
    pub(super) bytes: u64,
    pub(super) room: Room,
}

/// One session.
#[derive(Clone, Debug)]
pub(in super::super) struct Session {
    pub(in super::super) facts: SessionFacts,
    pub(super) answers: OrdMap<u64, Arc<Remembered>>,
    pub(super) bytes: u64,
}

/// An answer, with what it was counted as.
#[derive(Debug)]
pub(super) struct Remembered {
    answer: Response,
    pub(super) bytes: u64,
    pub(super) hash: RecordHash,
}

/// Whether a command is to be applied.
pub(in super::super) enum Admission {
    /// It is new.
    Apply,
    /// It was applied before, with this answer.
    Repeat(Response),
}

impl Sessions {
    /// How many were ever opened.
    pub(in super::super) fn opened(&self) -> u64 {
        self.opened
    }

    /// All of them, by id ascending.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.open.iter().map(|(id, session)| (*id, session))
    }
}

impl Session {
    /// The answers that are remembered, by number.
    pub(in super::super) fn answers(&self) -> impl Iterator<Item = (u64, &Response)> {
        self.answers.iter().map(|(sequence, remembered)| (*sequence, &remembered.answer))
    }

    /// Forgets the answers that are settled; returns their hashes and how many bytes they took.
    pub(super) fn forget_settled(&mut self) -> (ContentHash, u64) {
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

    /// Whether a command of it is to be applied.
    pub(super) fn admission(&self, id: SessionId, sequence: u64) -> Result<Admission, KvError> {
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
    /// The answer to a command, or that it is too large to be remembered.
    pub(super) fn new(session: SessionId, sequence: u64, answer: Response) -> Self {
        let bytes = weight(&answer);
        if bytes > SESSION_BYTES_MAX {
            let too_large = KvError::SessionAnswerTooLarge { session, sequence };
            return Self::new(session, sequence, Response { result: Err(too_large), ..answer });
        }
        let hash = RecordHash::of_answer(session, sequence, &answer);
        Self { answer, bytes, hash }
    }
}
