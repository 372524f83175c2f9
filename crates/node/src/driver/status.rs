//! What a driver tells of a group.

use ruvector_protocol::{GroupId, RaftStatus, Timestamp};
use ruvector_state_machine::StateMachine;

use super::Driver;
use crate::clock;
use crate::status::{NodeStatus, PeerStatus};

impl<M: StateMachine> Driver<M> {
    pub(super) fn status(&self, group: GroupId) -> NodeStatus {
        let now = clock::now();
        let replica = self.replica(group);
        let raft = replica.raft().status();
        let (log_bytes, log_syncs) = self.host.log_counters();
        NodeStatus {
            node: self.node.identity.node_id,
            cluster_id: self.node.identity.cluster_id,
            role: raft.role,
            leader: raft.leader,
            term: raft.term,
            commit: raft.commit,
            applied: replica.applied().index,
            last: raft.last,
            first: replica.first_index(),
            voters: raft.membership.voters.iter().copied().collect(),
            cluster_time: replica.raft().cluster_time(now),
            state_hash: replica.state_hash(),
            staleness_us: replica.raft().staleness_us(now),
            log_bytes,
            log_syncs,
            pending_proposals: replica.pending_proposals(),
            leader_changes: replica.leader_changes(),
            snapshot: replica.newest_snapshot(),
            unheard: raft.unheard.clone(),
            differs_at: replica.differs_at(),
            peers: self.peer_statuses(&raft, now),
        }
    }

    fn peer_statuses(&self, raft: &RaftStatus, now: Timestamp) -> Vec<PeerStatus> {
        let counters = self.transport.counters();
        raft.membership
            .voters
            .iter()
            .filter(|peer| **peer != self.node.identity.node_id)
            .map(|peer| {
                let follower = raft.followers.iter().find(|follower| follower.node == *peer);
                let counters = counters.get(peer).cloned().unwrap_or_default();
                PeerStatus {
                    node: *peer,
                    connected: counters.connected,
                    matched: follower.map(|follower| follower.matched),
                    commit: follower.and_then(|follower| follower.commit).map(|commit| commit.index),
                    contradicts: raft.contradicted_by.get(peer).copied(),
                    unmatched_us: follower
                        .and_then(|follower| follower.unmatched_since)
                        .map(|since| now.micros_since(since)),
                    state: follower.map(|follower| follower.state),
                    heard_us_ago: follower
                        .and_then(|follower| follower.heard_at)
                        .map(|heard| now.micros_since(heard)),
                    sent_bytes: counters.sent_bytes,
                    received_bytes: counters.received_bytes,
                    dropped_messages: counters.dropped_messages,
                }
            })
            .collect()
    }
}
