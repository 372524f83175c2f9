//! What is looked at after every turn of a node that takes more than one node to see.

use ruvector_node::replica::Replica;

use crate::violation::{Violation, ensure};
use crate::world::World;

/// What may stand in a queue beside commands: their overhead, a term's no-op, entries that only pass time.
const QUEUE_SLACK_BYTES: usize = 2_000;

impl World {
    /// A node has taken a turn.
    ///
    /// # Errors
    /// If what it is now breaks a promise.
    pub(crate) fn look_at(&mut self, node: usize) -> Result<(), Violation> {
        let host = &self.hosts[node];
        let Some(process) = &host.process else { return Ok(()) };
        let is_made_good = process.has_joined();
        let judged = self.invariants.inspect(host.id, process.replica());
        let is_new_leader = self.forgiven(judged)?;
        self.look_aside(node)?;
        self.watch_last_act(node);
        if is_made_good {
            self.hosts[node].newcomer = false;
            let is_again = std::mem::take(&mut self.hosts[node].disk_replaced);
            self.marks.disks_made_good += u64::from(is_again);
        }
        self.queues_are_bounded(node)?;
        if is_new_leader && self.last_act.is_none() { self.nobody_holds_a_lease(node) } else { Ok(()) }
    }

    /// Nobody can make a node take in more than it is set to.
    fn queues_are_bounded(&self, node: usize) -> Result<(), Violation> {
        let Some(replica) = self.replica(node) else { return Ok(()) };
        let tuning = &self.hosts[node].tuning;
        let queues = replica.raft().leader_queues();
        let entry_bytes_max = tuning.command_bytes_max + QUEUE_SLACK_BYTES;
        let append_bytes_max = tuning.append_bytes_max.max(entry_bytes_max);
        ensure!(
            queues.uncommitted_bytes <= tuning.uncommitted_bytes_max + entry_bytes_max
                && queues.inflight_bytes <= tuning.inflight_bytes_max + append_bytes_max
                && replica.pending_proposals() <= tuning.pending_proposals_max,
            BoundedQueues,
            "node {} has {queues:?} and {} commands under way",
            node + 1,
            replica.pending_proposals()
        );
        Ok(())
    }

    /// While a leader's lease lasts, too few nodes vote for there to be one of a later term. (A vote of an earlier
    /// term may arrive late and make a leader who can't commit anything any more.)
    fn nobody_holds_a_lease(&self, leader: usize) -> Result<(), Violation> {
        let Some(elected_in) = self.replica(leader).map(|replica| replica.raft().term()) else {
            return Ok(());
        };
        for (other, host) in self.hosts.iter().enumerate().filter(|(other, _)| *other != leader) {
            let now = host.now(self.now_us);
            let raft = self.replica(other).map(Replica::raft).filter(|raft| raft.term() < elected_in);
            let lease = raft.and_then(|raft| raft.lease_until(now));
            ensure!(
                lease.is_none(),
                LeaseExclusion,
                "node {} was elected while node {} held a lease for {} us more",
                leader + 1,
                other + 1,
                lease.map_or(0, |until| until.micros_since(now))
            );
        }
        Ok(())
    }
}
