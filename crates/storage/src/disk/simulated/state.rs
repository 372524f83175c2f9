//! What is on a simulated disk, and what it is about to do.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chooser::Chooser;
use super::faults::{Faults, Verdict};
use super::image::FileImage;
use super::names::Names;
use super::operation::Operation;

/// How many operations a disk remembers for [`SimulatedDisk::take_trace`](super::SimulatedDisk::take_trace).
pub const TRACE_MAX: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) names: Names,
    /// By file number; a file without a name stays until the next crash, as an open one does in POSIX.
    pub(super) files: Vec<FileImage>,
    /// Rises with every crash: handles of an earlier epoch are dead.
    pub(super) epoch: u64,
    pub(super) faults: Faults,
    /// The newest operations, at most [`TRACE_MAX`].
    pub(super) trace: VecDeque<Operation>,
}

/// The state that a disk has in common with its clones and its open files.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedState(Arc<Mutex<State>>);

impl SharedState {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide behind a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<()> {
        let sync = matches!(operation, Operation::Sync(_));
        if self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(operation);
        match self.faults.judge(sync) {
            Verdict::Proceed => Ok(()),
            Verdict::Fail(kind) => Err(io::Error::new(kind, "simulated fault")),
        }
    }

    pub(super) fn lose_power(&mut self, choose: &mut Chooser) {
        for file in &mut self.files {
            file.lose_power(choose);
        }
        self.names.lose_power(choose);
        let named: BTreeSet<usize> = self.names.files().collect();
        for (number, file) in self.files.iter_mut().enumerate() {
            if !named.contains(&number) {
                *file = FileImage::default();
            }
        }
    }

    pub(super) fn check_up(&self) -> io::Result<()> {
        if self.faults.halted() { Err(io::Error::other("the simulated machine is down")) } else { Ok(()) }
    }

    pub(super) fn check_space(&self, growth: u64) -> io::Result<()> {
        let Some(limit) = self.faults.space_limit else { return Ok(()) };
        let used: u64 = self.names.files().map(|number| self.files[number].bytes().len() as u64).sum();
        if growth > 0 && used + growth > limit {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk"));
        }
        Ok(())
    }
}
