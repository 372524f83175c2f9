//! Which operation of a simulated disk fails, and how.

use std::io;

/// The planned faults and the counters that they go by.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Operations tried so far.
    pub(super) operations: u64,
    /// File syncs among them that were let through.
    pub(super) file_syncs: u64,
    /// The most that all files may hold together.
    pub(super) space_limit: Option<u64>,
    halt_at: Option<u64>,
    fail_at: Option<(u64, io::ErrorKind)>,
}

/// What is to become of an operation.
pub(super) enum Verdict {
    Proceed,
    Fail(io::ErrorKind),
}

impl Faults {
    pub(super) fn halt_after(&mut self, operations_left: u64) {
        self.halt_at = Some(self.operations + operations_left);
    }

    pub(super) fn fail_after(&mut self, operations_between: u64, kind: io::ErrorKind) {
        self.fail_at = Some((self.operations + operations_between, kind));
    }

    /// Faults end with a crash; the space that there is does not.
    pub(super) fn clear(&mut self) {
        self.halt_at = None;
        self.fail_at = None;
    }

    pub(super) fn halted(&self) -> bool {
        self.halt_at.is_some_and(|at| self.operations >= at)
    }

    pub(super) fn judge(&mut self, sync: bool) -> Verdict {
        if self.halted() {
            return Verdict::Fail(io::ErrorKind::Other);
        }
        let number = self.operations;
        self.operations += 1;
        match self.fail_at {
            Some((at, kind)) if at == number => {
                self.fail_at = None;
                Verdict::Fail(kind)
            }
            _ => {
                self.file_syncs += u64::from(sync);
                Verdict::Proceed
            }
        }
    }
}
