//! The loads: what is done to a system, and what is measured of it.

mod compaction;
mod failover;
mod keep_alive;
mod key_value;
mod memory;
mod native;
mod restart;
mod slow_follower;
mod snapshot_transfer;
mod stress;
mod transaction;
mod unread_watch;
mod watch;

use crate::load::Load;

/// All loads, in the order in which they run: those that leave a system the worse for it come last.
pub(crate) fn all() -> Vec<Box<dyn Load>> {
    let mut loads = key_value::loads();
    loads.extend(native::loads());
    loads.push(Box::new(transaction::Transaction));
    loads.push(Box::new(watch::Watch::new(100)));
    loads.push(Box::new(watch::Watch::new(1_000)));
    loads.push(Box::new(keep_alive::KeepAlive));
    loads.push(Box::new(key_value::large()));
    loads.push(Box::new(slow_follower::SlowFollower));
    loads.push(Box::new(snapshot_transfer::SnapshotTransfer));
    loads.push(Box::new(unread_watch::UnreadWatch));
    loads.push(Box::new(compaction::Compaction));
    loads.push(Box::new(failover::Failover));
    loads.push(Box::new(memory::Memory));
    loads.push(Box::new(restart::Restart));
    loads.push(Box::new(memory::AfterPuts));
    loads
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::system::System;

    #[test]
    fn names_are_unique_and_every_load_runs_here() {
        let loads = all();
        let names: BTreeSet<&str> = loads.iter().map(|load| load.name()).collect();
        assert_eq!(names.len(), loads.len());
        assert!(loads.iter().all(|load| load.runs_on(System::Ruvector)));
    }
}
