//! The contract between a replica and what it replicates.
//!
//! A small state that serde can write needs only [`simple::SimpleMachine`].

pub mod simple;

use std::io::{self, Read, Write};

use bytes::Bytes;

/// A committed command, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its index in the log; rises from call to call, with gaps.
    pub index: u64,
    /// The cluster time of its entry in milliseconds; never falls from call to call.
    pub time_ms: u64,
    /// What the proposer wrote.
    pub command: Bytes,
}

/// A deterministic state machine: its state is a function of the calls made, in order.
///
/// It may read no clock, draw no random number and depend on no iteration order that differs between
/// processes. Commands come from the log and were not necessarily written by this version of the program:
/// one that can't be understood gets an error as its response and changes nothing.
pub trait StateMachine: Send + 'static {
    /// What a command's proposer is answered.
    type Response: std::fmt::Debug + Send + 'static;
    /// An immutable version of the state, cheap to clone, that readers work on while commands are applied.
    type View: Clone + std::fmt::Debug + Send + Sync + 'static;
    /// A piece of a snapshot that was read. A small machine has one for its whole state.
    type Part: Send;

    /// Applies one command.
    fn apply(&mut self, entry: &Committed) -> Self::Response;

    /// Time has passed by an entry without a command. Does nothing unless the machine says otherwise.
    fn advance_time(&mut self, index: u64, time_ms: u64) {
        let _ = (index, time_ms);
    }

    /// The cluster time in milliseconds at which the machine wants [`advance_time`](Self::advance_time) to
    /// be called if nothing else is applied by then. Never, unless the machine says otherwise.
    fn wake_at_ms(&self) -> Option<u64> {
        None
    }

    /// The present version, in O(1).
    fn view(&self) -> Self::View;

    /// A hash of the contents, in O(1); equal on all replicas at an equal applied index.
    fn state_hash(&self) -> u128;

    /// Writes a version so that [`read_snapshot`](Self::read_snapshot) can read it. Runs in the background.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_snapshot(view: &Self::View, writer: &mut dyn Write) -> io::Result<()>;

    /// Reads what [`write_snapshot`](Self::write_snapshot) wrote: the parts in order, and nothing behind an error.
    ///
    /// To read and check is about half of the work of a restore. Since it needs no machine it can be done on another
    /// thread than [`restore_parts`](Self::restore_parts), which takes the parts as they come.
    fn read_snapshot(
        reader: &mut (dyn Read + Send),
    ) -> impl Iterator<Item = Result<Self::Part, RestoreError>> + Send;

    /// Replaces the whole state by that of a snapshot.
    ///
    /// # Errors
    /// The error among the parts, or if they make no state; the state is then unchanged.
    fn restore_parts(
        &mut self,
        parts: impl Iterator<Item = Result<Self::Part, RestoreError>>,
    ) -> Result<(), RestoreError>;

    /// Replaces the whole state by what [`write_snapshot`](Self::write_snapshot) wrote.
    ///
    /// # Errors
    /// If the bytes can't be read or are no snapshot; the state is then unchanged.
    fn restore(&mut self, reader: &mut (dyn Read + Send)) -> Result<(), RestoreError> {
        self.restore_parts(Self::read_snapshot(reader))
    }
}

/// Why a snapshot could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes could not be read.
    #[error("reading the snapshot: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no snapshot of this machine, or of a version that this program can't read.
    #[error("the snapshot is damaged or of another version: {0}")]
    Format(String),
}
