//! One replica of one group.
//!
//! [`Raft::step`] is here: it gives an input to the code of the current role. `core` has what every role
//! needs, `election` how a replica becomes a leader, `follower`, `leader` and `replication` what either does,
//! `reads` how reads are made safe, `beat` when leaders make themselves heard, `promise` for how long nobody else is elected, `writes` and `held` what is durable and what waits for it, `clock` what is
//! known of time, `contradiction` and `memory` how lost disks are noticed.

mod beat;
mod candidate;
mod clock;
mod config;
mod contradiction;
mod core;
mod election;
mod follower;
mod gathered;
mod held;
mod leader;
mod memory;
mod newcomer;
mod planted;
mod promise;
mod proposals;
mod reads;
mod replication;
mod status;
mod writes;

pub use config::{Config, Restored};
pub use planted::PlantedBug;
pub use status::{FollowerStatus, LeaderQueues, RaftStatus, RoleName};

use std::collections::BTreeMap;

use self::candidate::{Candidate, PreCandidate};
use self::core::Core;
use self::follower::Follower;
use self::leader::Leader;
use crate::io::{Effect, Input, RejectReason};
use crate::message::{Envelope, Message};
use crate::types::{ClusterTime, Index, LogPosition, Membership, NodeId, SnapshotMeta, Term, Timestamp};

/// One replica of one group: a state machine over [`Input`]s that answers with [`Effect`]s.
///
/// Invariants, each asserted where it could break:
/// - at most one vote a term, and it is durable before anyone hears of it;
/// - a leader never removes or replaces entries of its own log;
/// - terms never fall along the log, indexes are consecutive, cluster time never falls;
/// - an entry is committed by counting only if it is of the leader's own term;
/// - the commit index never falls, and only committed entries are applied, in order, once.
#[derive(Debug)]
pub struct Raft {
    core: Core,
    role: Role,
    /// The leader and term that the node was last told of.
    announced: (Option<NodeId>, Term),
}

/// What a replica does, with the data that only this needs.
#[derive(Debug)]
enum Role {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Raft {
    /// A replica that continues from what was durable. It starts as a follower.
    ///
    /// # Panics
    /// If what was restored contradicts itself: an applied index outside the log, entries out of order.
    #[must_use]
    pub fn new(config: Config, restored: Restored, now: Timestamp) -> Self {
        let mut core = Core::new(config, restored, now);
        core.join_if_ready();
        let follower = Follower::new(&mut core, None);
        let announced = (None, core.term());
        Self { core, role: Role::Follower(follower), announced }
    }

    /// Takes one input and appends what follows from it to `effects`, to be done in order.
    ///
    /// # Panics
    /// If the node breaks the contract (completes a write that was never asked for, applies what was never
    /// handed out), or an invariant of the protocol is found broken. Peers can't cause either.
    pub fn step(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        self.core.now = self.core.now.max(now);
        self.core.effects = std::mem::take(effects);
        self.handle(input);
        self.core.introduce_if_due();
        self.core.join_if_ready();
        self.core.write_changes();
        self.core.hand_out();
        self.announce_leader();
        *effects = std::mem::take(&mut self.core.effects);
    }

    /// When [`Input::Wake`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.core.is_apply_due() {
            return Some(self.core.now);
        }
        let role = match &self.role {
            Role::Follower(follower) => follower.deadline(&self.core),
            Role::PreCandidate(candidate) => Some(candidate.deadline),
            Role::Candidate(candidate) => candidate.deadline,
            Role::Leader(leader) => Some(leader.deadline(&self.core)),
        };
        [role, self.core.introduction_deadline()].into_iter().flatten().min()
    }

    /// The leader this replica knows of.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader(),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.config.node),
        }
    }

    /// Whether this replica's data directory is new, so that it neither votes nor counts. It durably is a member
    /// once this is false.
    #[must_use]
    pub fn is_newcomer(&self) -> bool {
        self.core.writes.is_newcomer_durably()
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.core.term()
    }

    /// Whether this replica leads and has committed an entry of its own term, so that what it has
    /// committed is all that anyone has.
    #[must_use]
    pub fn is_established_leader(&self) -> bool {
        self.as_leader().is_some_and(|leader| leader.is_established(&self.core))
    }

    /// The cluster time that a leader would stamp on an entry now; a follower's is an estimate.
    #[must_use]
    pub fn cluster_time(&self, now: Timestamp) -> ClusterTime {
        self.core.clock.read(now).max(self.core.log.last_time())
    }

    /// The end of the leader's lease, if this replica leads and holds one that ends after `now`.
    #[must_use]
    pub fn lease_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.as_leader()?.lease_until(&self.core, now)
    }

    /// What waits at a leader; nothing does at a follower.
    #[must_use]
    pub fn leader_queues(&self) -> LeaderQueues {
        self.as_leader().map_or_else(LeaderQueues::default, Leader::queues)
    }

    /// How old the applied state is at most, in microseconds: 0 on an established leader with a lease that has
    /// applied all that is committed; otherwise on a leader, the time since it surely led with what is applied
    /// by now; on a follower, the time since it sent the message that the leader answered with a commit index
    /// that is applied by now; `None` if that was never so since it started.
    #[must_use]
    pub fn staleness_us(&self, now: Timestamp) -> Option<u64> {
        let has_all = self.is_established_leader() && self.core.applied() == self.core.commit();
        if has_all && self.lease_until(now).is_some() {
            return Some(0);
        }
        self.core.freshness.complete_as_of().map(|as_of| now.micros_since(as_of))
    }

    /// How many messages were dropped because they can't be right: from a stranger, for another group, or
    /// with impossible contents.
    #[must_use]
    pub fn dropped_messages(&self) -> u64 {
        self.core.dropped_messages()
    }

    /// What this replica does.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match &self.role {
            _ if self.is_newcomer() => RoleName::Newcomer,
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// The committed index.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.core.commit()
    }

    /// Where the log ends.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.core.log.last()
    }

    /// Who takes part.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.core.membership
    }

    /// Followers that had committed what this replica did not have when it led, and what that was: see
    /// [`RaftStatus::contradicted_by`].
    #[must_use]
    pub fn contradicted_by(&self) -> &BTreeMap<NodeId, LogPosition> {
        &self.core.contradicted_by
    }

    /// A copy of everything there is to know; costs as much as there are members. Who wants one thing asks for that.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        RaftStatus {
            role: self.role(),
            term: self.core.term(),
            leader: self.leader(),
            voted_for: self.core.vote().voted_for,
            commit: self.commit(),
            applied: self.core.applied(),
            last: self.last(),
            base: self.core.log.base(),
            membership: self.membership().clone(),
            followers: self.as_leader().map(Leader::follower_statuses).unwrap_or_default(),
            contradicted_by: self.contradicted_by().clone(),
            unheard: self.core.unheard(),
        }
    }

    fn as_leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Wake => self.wake(),
            Input::Receive(envelope) => self.receive(envelope),
            Input::Propose(proposals) => match &mut self.role {
                Role::Leader(leader) => {
                    let refused = leader.propose(&mut self.core, proposals);
                    self.core.reject_proposals(&refused, RejectReason::TooBusy);
                }
                Role::Follower(follower) => follower.forward(&mut self.core, proposals),
                Role::PreCandidate(_) | Role::Candidate(_) => {
                    self.core.reject_proposals(&proposals, RejectReason::NoLeader);
                }
            },
            Input::ProposeTick => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.propose_tick(&mut self.core);
                }
            }
            Input::Read { ids, level: _ } if self.core.is_suspect => {
                self.core.reject_reads(ids, RejectReason::NoLeader);
            }
            Input::Suspect(is_suspect) => self.suspect(is_suspect),
            Input::Read { ids, level } => match &mut self.role {
                Role::Leader(leader) => leader.read(&mut self.core, ids, level),
                Role::Follower(follower) => follower.read(&mut self.core, ids, level),
                Role::PreCandidate(_) | Role::Candidate(_) => {
                    self.core.reject_reads(ids, RejectReason::NoLeader);
                }
            },
            Input::Persisted(id) => {
                self.core.persisted(id);
                match &mut self.role {
                    Role::Candidate(_) => self.ask_for_votes(),
                    Role::Leader(leader) => leader.own_log_durable(&mut self.core),
                    Role::Follower(_) | Role::PreCandidate(_) => {}
                }
            }
            Input::Applied(index) => self.core.applied_through(index),
            Input::PeerLost(peer) => match &mut self.role {
                Role::Follower(follower) => follower.peer_lost(&mut self.core, peer),
                Role::Leader(leader) => leader.peer_lost(&self.core, peer),
                Role::PreCandidate(_) | Role::Candidate(_) => {}
            },
            Input::EntriesLoaded { to, entries } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.entries_loaded(&mut self.core, to, entries);
                }
            }
            Input::SnapshotSent { to, position } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.snapshot_sent(&self.core, to, position);
                }
            }
            Input::SnapshotReceived { from, term, meta } => self.snapshot_received(from, term, meta),
            Input::Compacted(meta) => self.core.compacted(&meta),
        }
    }

    fn wake(&mut self) {
        match &mut self.role {
            Role::Follower(follower) => {
                if follower.wake(&mut self.core) {
                    self.election_timed_out();
                }
            }
            Role::PreCandidate(candidate) => {
                if candidate.deadline <= self.core.now {
                    self.election_timed_out();
                }
            }
            Role::Candidate(candidate) => {
                if candidate.deadline.is_some_and(|deadline| deadline <= self.core.now) {
                    self.election_timed_out();
                }
            }
            Role::Leader(leader) => {
                leader.excuse_oversleeping(&self.core);
                if leader.must_step_down(&self.core) {
                    self.follow(None);
                } else {
                    leader.wake(&mut self.core);
                }
            }
        }
    }

    /// First the term, which decides whether the message counts at all, then its contents.
    fn receive(&mut self, envelope: Envelope) {
        if !self.core.is_from_peer(&envelope) {
            self.core.drop_message();
            return;
        }
        if envelope.term < self.core.term() {
            self.answer_from_newer_term(&envelope);
            return;
        }
        if envelope.term > self.core.term() && !self.meet_higher_term(&envelope) {
            return;
        }
        let Envelope { from, term, message, .. } = envelope;
        match message {
            Message::PreVoteRequest(request) => self.pre_vote_requested(from, term, &request),
            Message::PreVoteResponse(response) => self.pre_vote_answered(from, term, &response),
            Message::VoteRequest(request) => self.vote_requested(from, &request),
            Message::VoteResponse(response) => self.vote_answered(from, &response),
            Message::AppendRequest(request) => {
                if self.core.meet_leader(from, &request.stamp)
                    && let Some((follower, core)) = self.follower_of(from)
                {
                    follower.append(core, from, request);
                }
            }
            Message::Heartbeat(heartbeat) => {
                if self.core.meet_leader(from, &heartbeat.stamp)
                    && let Some((follower, core)) = self.follower_of(from)
                {
                    follower.heartbeat(core, from, &heartbeat);
                }
            }
            Message::ReadIndexResponse(response) => match &mut self.role {
                Role::Follower(follower) => follower.read_index(&mut self.core, from, &response),
                Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {}
            },
            Message::ReadIndexRequest(request) => match &mut self.role {
                Role::Leader(leader) => leader.read_for_follower(&mut self.core, from, &request),
                Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                    reads::refuse_read_index(&mut self.core, from, &request);
                }
            },
            Message::AppendResponse(response) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.append_answered(&mut self.core, from, &response);
                }
            }
            Message::HeartbeatResponse(response) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.heartbeat_answered(&mut self.core, from, &response);
                }
            }
            Message::ForwardProposals(forwarded) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.propose(&mut self.core, forwarded.proposals);
                }
            }
            Message::IntroductionRequest(request) => self.introduced(from, &request),
            Message::IntroductionResponse(response) => self.introduction_answered(from, &response),
        }
    }

    /// This replica as a follower of `leader`, which spoke as the leader of this term; `None` if another
    /// is known to lead in it.
    fn follower_of(&mut self, leader: NodeId) -> Option<(&mut Follower, &mut Core)> {
        let follows = match &self.role {
            Role::Follower(follower) => follower.leader() == Some(leader),
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => false,
        };
        if !follows {
            let is_other_known = self.leader().is_some();
            if is_other_known {
                self.core.drop_message();
                return None;
            }
            self.follow(Some(leader));
        }
        match &mut self.role {
            Role::Follower(follower) => {
                follower.leader_heard(&mut self.core);
                Some((follower, &mut self.core))
            }
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => None,
        }
    }

    /// Becomes a follower, of `leader` if it is known, in the current term.
    fn follow(&mut self, leader: Option<NodeId>) {
        let kept_deadline = match &self.role {
            // Only a leader's word or a vote given puts an election off (Raft thesis section 3.4).
            Role::Follower(follower) => follower.election_deadline(),
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => None,
        };
        let mut follower = Follower::new(&mut self.core, leader);
        if let Some(deadline) = kept_deadline {
            follower.campaign_by(deadline);
        }
        match std::mem::replace(&mut self.role, Role::Follower(follower)) {
            Role::Follower(former) => former.leave(&mut self.core),
            Role::Leader(former) => former.leave(&mut self.core),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Stops leading and campaigning, and gives back the reads that wait.
    fn suspect(&mut self, is_suspect: bool) {
        let was_suspect = std::mem::replace(&mut self.core.is_suspect, is_suspect);
        if is_suspect && !was_suspect {
            let leader = self.leader().filter(|leader| *leader != self.core.config.node);
            self.follow(leader);
        }
    }

    fn snapshot_received(&mut self, from: NodeId, term: Term, meta: SnapshotMeta) {
        if !self.core.is_peer(from) || !Core::can_be(meta.position, term) {
            self.core.drop_message();
            return;
        }
        if term < self.core.term() {
            return;
        }
        if term > self.core.term() {
            self.core.enter_term(term);
            self.follow(Some(from));
        }
        if let Some((follower, core)) = self.follower_of(from) {
            follower.snapshot_received(core, from, meta);
        }
    }

    fn announce_leader(&mut self) {
        let (leader, term) = (self.leader(), self.core.term());
        if self.announced != (leader, term) {
            self.announced = (leader, term);
            self.core.effects.push(Effect::LeaderChanged { leader, term });
        }
    }
}
