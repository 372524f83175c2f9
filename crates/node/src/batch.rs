//! Many commands at once, for clients that keep many under way.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use crate::budget::Permit;
use crate::outcome::{Applied, NodeError};

/// Commands to be committed and applied, each answered on its own.
#[derive(Debug)]
pub struct Batch<R> {
    /// The commands, each with the caller's number for it. They are proposed in this order.
    pub commands: Vec<(u64, Bytes)>,
    /// Where the answers go, and what comes back with each of them.
    pub answers: Answers<R>,
}

/// Where the answers to a batch go. They are as many as its commands; the caller bounds how many are under way.
#[derive(Debug)]
pub struct Answers<R> {
    /// Takes them. If nobody listens any more they are lost.
    pub sender: UnboundedSender<Answer<R>>,
    /// Comes back with every answer: what it holds is let go when the last one is dropped.
    pub hold: Arc<Hold>,
}

/// What a batch takes until all of it is answered and the answers are dropped.
#[derive(Debug)]
pub struct Hold {
    /// Of the caller's window for what is under way.
    pub window: OwnedSemaphorePermit,
    /// Of the node's budget for what it holds for clients.
    pub permit: Permit,
}

/// The answer to one command of a [`Batch`].
#[derive(Debug)]
pub struct Answer<R> {
    /// The caller's number.
    pub number: u64,
    /// What came of it; the errors are those of [`Handle::propose`](crate::Handle::propose).
    pub result: Result<Applied<R>, NodeError>,
    /// From the batch.
    pub hold: Arc<Hold>,
}

impl<R> Answers<R> {
    /// Answers one command.
    pub fn answer(&self, number: u64, result: Result<Applied<R>, NodeError>) {
        // Nobody may listen any more.
        let _ = self.sender.send(Answer { number, result, hold: Arc::clone(&self.hold) });
    }
}

impl<R> Clone for Answers<R> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), hold: Arc::clone(&self.hold) }
    }
}

impl<R> Batch<R> {
    /// Refuses what is larger than the log takes.
    pub(crate) fn refuse_larger_than(&mut self, bytes_max: usize) {
        for (number, command) in self.commands.extract_if(.., |(_, command)| command.len() > bytes_max) {
            self.answers.answer(number, Err(NodeError::TooLarge { bytes: command.len(), bytes_max }));
        }
    }

    /// Refuses all of it.
    pub(crate) fn refuse(self, error: &NodeError) {
        for (number, _) in self.commands {
            self.answers.answer(number, Err(error.clone()));
        }
    }
}
