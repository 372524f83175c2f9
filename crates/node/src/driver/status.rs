//! What a driver tells of its groups.

use ruvector_protocol::{GroupId, Index, NodeId, RaftStatus, RoleName, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_status::{ConnectionStatus, GroupStatus, Id, MemberStatus, Named, NodeStatus, PeerStatus, Role};

use super::Driver;
use crate::clock;

impl<M: StateMachine> Driver<M> {
    /// Everything there is to know, with this group first.
    pub(super) fn status(&self, group: GroupId) -> NodeStatus {
        let identity = &self.node.identity;
        let members = self.node.members().into_iter().map(|member| MemberStatus {
            id: Id(member.id.0),
            name: member.name,
            peer_address: member.peer_address,
            client_address: member.client_address,
        });
        let members: Vec<_> = members.collect();
        let own = members.iter().find(|member| member.id.0 == identity.node_id.0);
        let log = self.host.log_counters();
        let others = self.groups.keys().filter(|other| **other != group);
        NodeStatus {
            node: Named { id: Id(identity.node_id.0), name: identity.node_name.clone() },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: Named { id: Id(identity.cluster_id), name: identity.cluster_name.clone() },
            client_address: own.and_then(|own| own.client_address.clone()).unwrap_or_default(),
            peer_address: own.map(|own| own.peer_address.clone()).unwrap_or_default(),
            members,
            connections: self.connections(),
            log_bytes: log.file_bytes,
            log_syncs: log.syncs,
            group: self.group_status(group),
            other_groups: others.map(|other| self.group_status(*other)).collect(),
        }
    }

    /// What there is to know of a group.
    pub(super) fn group_status(&self, group: GroupId) -> GroupStatus {
        let now = clock::now();
        let replica = self.replica(group);
        let raft = replica.raft().status();
        GroupStatus {
            name: self.shared(group).name.clone(),
            id: Id(group.0),
            trouble: self.trouble(&raft, replica.differs_at()),
            role: role(raft.role),
            leader: raft.leader.map(|leader| self.named(leader)),
            term: raft.term.0,
            commit_index: raft.commit.0,
            applied_index: replica.applied().index.0,
            first_index: replica.first_index().0,
            last_index: raft.last.index.0,
            last_term: raft.last.term.0,
            voters: raft.membership.voters.iter().map(|voter| self.named(*voter)).collect(),
            cluster_time_ms: replica.raft().cluster_time(now).0,
            state_hash: format!("{:032x}", replica.state_hash()),
            staleness_us: replica.raft().staleness_us(now),
            pending_proposals: replica.pending_proposals() as u64,
            leader_changes: replica.leader_changes(),
            snapshot_index: replica.newest_snapshot().map(|index| index.0),
            unheard: raft.unheard.iter().map(|node| self.named(*node)).collect(),
            differs_at_index: replica.differs_at().map(|index| index.0),
            peers: self.peers(&raft, now),
            store: None,
        }
    }

    /// What must never be: replicas that contradict each other.
    fn trouble(&self, raft: &RaftStatus, differs_at: Option<Index>) -> Option<String> {
        if let Some(index) = differs_at {
            return Some(format!(
                "its state differs from a peer's since index {index}, and no majority can tell which is right"
            ));
        }
        let (peer, position) = raft.contradicted_by.first_key_value()?;
        Some(format!(
            "{} has committed entry {} of term {}, which this node lacks as its leader: a disk has lost writes",
            self.named(*peer).name,
            position.index,
            position.term
        ))
    }

    fn peers(&self, raft: &RaftStatus, now: Timestamp) -> Vec<PeerStatus> {
        let peers = raft.membership.voters.iter().filter(|peer| **peer != self.node.identity.node_id);
        peers
            .map(|peer| {
                let follower = raft.followers.iter().find(|follower| follower.node == *peer);
                let unmatched_since = follower.and_then(|follower| follower.unmatched_since);
                let heard_at = follower.and_then(|follower| follower.heard_at);
                PeerStatus {
                    peer: self.named(*peer),
                    matched_index: follower.map(|follower| follower.matched.0),
                    commit_index: follower.and_then(|follower| follower.commit).map(|commit| commit.index.0),
                    state: follower.map(|follower| follower.state.to_owned()),
                    heard_us_ago: heard_at.map(|heard| now.micros_since(heard)),
                    unmatched_us: unmatched_since.map(|since| now.micros_since(since)),
                    contradicts_index: raft.contradicted_by.get(peer).map(|position| position.index.0),
                }
            })
            .collect()
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        let counters = self.transport.counters();
        counters
            .into_iter()
            .map(|(peer, counters)| ConnectionStatus {
                peer: self.named(peer),
                connected: counters.connected,
                sent_bytes: counters.sent_bytes,
                received_bytes: counters.received_bytes,
                dropped_messages: counters.dropped_messages,
            })
            .collect()
    }

    fn named(&self, node: NodeId) -> Named {
        let member = self.node.identity.members.iter().find(|member| member.id == node);
        Named { id: Id(node.0), name: member.map(|member| member.name.clone()).unwrap_or_default() }
    }
}

fn role(role: RoleName) -> Role {
    match role {
        RoleName::Follower => Role::Follower,
        RoleName::PreCandidate => Role::PreCandidate,
        RoleName::Candidate => Role::Candidate,
        RoleName::Leader => Role::Leader,
        RoleName::Newcomer => Role::Newcomer,
    }
}
