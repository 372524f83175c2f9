//! How a replica becomes a leader: pre-vote, vote, and what voters answer (Raft thesis sections 3.4 and 9.6).

use std::collections::BTreeMap;

use super::candidate::{Candidate, PreCandidate};
use super::leader::Leader;
use super::planted::PlantedBug;
use super::{Raft, Role};
use crate::message::{
    AppendOutcome, AppendResponse, Envelope, HeartbeatResponse, Message, PreVoteRequest, PreVoteResponse,
    VoteRequest, VoteResponse,
};
use crate::quorum::{self, VoteResult};
use crate::types::{NodeId, Term};

impl Raft {
    /// No leader was heard for an election timeout, or a campaign led nowhere.
    pub(super) fn election_timed_out(&mut self) {
        if self.core.is_alone() {
            self.campaign();
        } else if self.core.may_vote() {
            self.pre_campaign();
        } else {
            self.follow(None);
        }
    }

    /// Asks all voters whether they would elect this replica.
    fn pre_campaign(&mut self) {
        let is_leader_lost = match &self.role {
            Role::Follower(follower) => follower.is_leader_lost(),
            Role::PreCandidate(candidate) => candidate.is_leader_lost,
            Role::Candidate(_) | Role::Leader(_) => false,
        };
        let wait_us = if is_leader_lost {
            let interval_us = self.core.config.heartbeat_interval_us;
            self.core.random.between(interval_us / 2, interval_us.saturating_mul(3) / 2)
        } else {
            self.core.draw_election_timeout_us()
        };
        let candidate = PreCandidate {
            deadline: self.core.now.after_micros(wait_us),
            votes: BTreeMap::from([(self.core.config.node, true)]),
            is_leader_lost,
        };
        if let Role::Follower(former) = std::mem::replace(&mut self.role, Role::PreCandidate(candidate)) {
            former.leave(&mut self.core);
        }
        let request = PreVoteRequest { last: self.core.log.last() };
        let term = self.core.term().next();
        for peer in self.core.peers() {
            self.core.send_in_term(peer, term, Message::PreVoteRequest(request.clone()));
        }
    }

    /// Enters the next term and votes for itself; asks the others when that is durable.
    fn campaign(&mut self) {
        let node = self.core.config.node;
        assert!(
            self.core.is_alone() || !self.core.is_leader_recent(),
            "campaign at {} although votes are promised to nobody before {}: a leader's lease may hold",
            self.core.now,
            self.core.promise.withheld_until()
        );
        self.core.enter_term(self.core.term().next());
        self.core.vote_for(node);
        let vote_write = self.core.covering_write();
        let candidate = Candidate { vote_write, deadline: None, votes: BTreeMap::new() };
        if let Role::Follower(former) = std::mem::replace(&mut self.role, Role::Candidate(candidate)) {
            former.leave(&mut self.core);
        }
        if self.core.config.planted(PlantedBug::VoteBeforeDurable) {
            self.ask_for_votes();
        }
    }

    /// A write completed: if this candidate's own vote is durable now, it counts, and the others are asked.
    pub(super) fn ask_for_votes(&mut self) {
        let timeout_us = self.core.draw_election_timeout_us();
        let Role::Candidate(candidate) = &mut self.role else { return };
        let is_durable = self.core.writes.completed() >= candidate.vote_write
            || self.core.config.planted(PlantedBug::VoteBeforeDurable);
        if candidate.deadline.is_some() || !is_durable {
            return;
        }
        candidate.deadline = Some(self.core.now.after_micros(timeout_us));
        candidate.votes.insert(self.core.config.node, true);
        let request = VoteRequest { last: self.core.log.last(), incarnation: self.core.config.incarnation };
        for peer in self.core.peers() {
            self.core.send(peer, Message::VoteRequest(request.clone()));
        }
        self.lead_if_elected();
    }

    fn lead_if_elected(&mut self) {
        let Role::Candidate(candidate) = &self.role else { return };
        let result = quorum::vote_result(&self.core.membership.voters, &candidate.votes);
        if result == VoteResult::Won {
            let leader = Leader::open_term(&mut self.core);
            self.role = Role::Leader(Box::new(leader));
        }
    }

    /// Whether this replica would vote for a candidate whose log ends at `last`, in a later term.
    fn would_vote(&self, request: &PreVoteRequest) -> bool {
        let leads = matches!(self.role, Role::Leader(_));
        !leads
            && self.core.may_vote()
            && !self.core.is_vote_withheld()
            && self.core.is_up_to_date(request.last)
    }

    pub(super) fn pre_vote_requested(&mut self, from: NodeId, term: Term, request: &PreVoteRequest) {
        let granted = term > self.core.term() && self.would_vote(request);
        let answer_term = if granted { term } else { self.core.term() };
        self.core.send_in_term(from, answer_term, Message::PreVoteResponse(PreVoteResponse { granted }));
    }

    pub(super) fn pre_vote_answered(&mut self, from: NodeId, term: Term, response: &PreVoteResponse) {
        let asked = self.core.term().next();
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        if response.granted && term != asked {
            return;
        }
        candidate.votes.insert(from, response.granted);
        if quorum::vote_result(&self.core.membership.voters, &candidate.votes) == VoteResult::Won {
            self.campaign();
        }
    }

    pub(super) fn vote_requested(&mut self, from: NodeId, request: &VoteRequest) {
        let is_free = self.core.vote().voted_for.is_none_or(|voted_for| voted_for == from);
        let may_vote = self.core.may_vote() && self.leader().is_none() && !self.core.is_vote_withheld();
        if !is_free || !may_vote || !self.core.is_up_to_date(request.last) {
            let response = VoteResponse { granted: false, incarnation: request.incarnation };
            self.core.send(from, Message::VoteResponse(response));
            return;
        }
        self.core.vote_for(from);
        self.core.grant_vote(from, request.incarnation);
        if let Role::Follower(follower) = &mut self.role {
            follower.vote_given(&mut self.core);
        }
    }

    pub(super) fn vote_answered(&mut self, from: NodeId, response: &VoteResponse) {
        if response.incarnation != self.core.config.incarnation {
            return;
        }
        let interval_us = self.core.config.heartbeat_interval_us;
        let wait_us = self.core.random.between(interval_us / 2, interval_us.saturating_mul(4));
        let soon = self.core.now.after_micros(wait_us);
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.votes.insert(from, response.granted);
        if !response.granted {
            // Somebody else stands in this term: rather than wait the whole timeout, which is there for
            // slow disks and networks, try again soon, each at its own random moment.
            candidate.deadline = candidate.deadline.map(|deadline| deadline.min(soon));
        }
        self.lead_if_elected();
    }

    /// A message of a higher term than ours. Returns whether it is to be handled.
    pub(super) fn meet_higher_term(&mut self, envelope: &Envelope) -> bool {
        let leader = match &envelope.message {
            // Speaks of a term that may never be, or of none.
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(PreVoteResponse { granted: true })
            | Message::IntroductionRequest(_) => return true,
            // Whoever hears a leader lets no candidate depose it (Raft thesis section 4.2.3).
            Message::VoteRequest(_) if self.hears_leader() => return false,
            Message::AppendRequest(_) | Message::Heartbeat(_) => Some(envelope.from),
            Message::VoteRequest(_)
            | Message::VoteResponse(_)
            | Message::PreVoteResponse(_)
            | Message::AppendResponse(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_)
            | Message::IntroductionResponse(_) => None,
        };
        self.core.enter_term(envelope.term);
        self.follow(leader);
        true
    }

    fn hears_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_)) || self.core.is_vote_withheld()
    }

    /// A message of an older term. What a newcomer and a member say to each other counts in every term. Whoever speaks as a leader or candidate learns that its term has passed: a
    /// replica that is alone in a higher term could otherwise neither be led nor be elected.
    pub(super) fn answer_from_newer_term(&mut self, envelope: &Envelope) {
        let answer = match &envelope.message {
            Message::PreVoteRequest(_) => Message::PreVoteResponse(PreVoteResponse { granted: false }),
            Message::VoteRequest(request) => {
                Message::VoteResponse(VoteResponse { granted: false, incarnation: request.incarnation })
            }
            Message::Heartbeat(heartbeat) => Message::HeartbeatResponse(HeartbeatResponse {
                remembered: Vec::new(),
                stamp: self.core.follower_stamp(&heartbeat.stamp),
            }),
            Message::AppendRequest(request) => Message::AppendResponse(AppendResponse {
                outcome: AppendOutcome::Rejected {
                    previous: request.previous,
                    candidate: self.core.log.last(),
                },
                stamp: self.core.follower_stamp(&request.stamp),
            }),
            Message::IntroductionRequest(request) => return self.introduced(envelope.from, request),
            Message::IntroductionResponse(response) => {
                return self.introduction_answered(envelope.from, response);
            }
            Message::PreVoteResponse(_)
            | Message::VoteResponse(_)
            | Message::AppendResponse(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_) => return,
        };
        self.core.send(envelope.from, answer);
    }
}
