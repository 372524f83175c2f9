//! Entries of the durable log for followers that are behind what is in memory.
//!
//! To read the log waits for whoever writes and syncs it. So while a job may be at work the wish is kept, and met when the job
//! has ended: a slow disk holds up those who are far behind, and not the replica.

pub(super) mod wishes;

use ruvector_protocol::{Input, NodeId, Timestamp};
use ruvector_state_machine::StateMachine;

use super::{Output, Replica, ReplicaError};
use wishes::Load;

impl<M: StateMachine> Replica<M> {
    /// Whether entries wait to be read until the log is free.
    pub(crate) fn needs_load(&self) -> bool {
        !self.loads.0.is_empty()
    }

    /// Reads entries for a follower, now or when the log is free. Returns what the core is to be told now.
    pub(super) fn load_entries(&mut self, to: NodeId, load: Load) -> Result<Option<Input>, ReplicaError> {
        if self.journal.is_busy() {
            self.loads.0.insert(to, load);
            return Ok(None);
        }
        let Load { from, through, bytes_max } = load;
        let entries = self.journal.read(from, through, bytes_max)?;
        Ok(Some(Input::EntriesLoaded { to, entries }))
    }

    /// The log is free, or may be: reads what waited for that.
    pub(crate) fn load_waiting(
        &mut self,
        now: Timestamp,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        for (to, load) in std::mem::take(&mut self.loads.0) {
            if let Some(input) = self.load_entries(to, load)? {
                self.step(now, input, outputs)?;
            }
        }
        Ok(())
    }
}
