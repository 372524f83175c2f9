//! How a replica that remembers nothing takes part without breaking what it may have promised before.
//!
//! A disk that is replaced under an old name has forgotten votes, and entries that were acknowledged. A replica
//! with an empty disk can't tell whether it ever had another, so it begins as a *newcomer*: it follows, but it
//! gives no vote, stands for no election, and what it answers counts for no quorum. It is a member again once
//!
//! 1. every other member has answered an [`IntroductionRequest`] of this start of it, and
//! 2. it has committed an entry of the current term, and at least what any of the answers called committed; or
//!    every log was still empty.
//!
//! Let `F` be the highest term among the answers; it is at least the newcomer's term from then on.
//!
//! - *No second vote in a term that counts.* Whoever got a vote of the forgotten self was in that term already,
//!   durably, so that term is at most `F`, and votes are given only in terms above it. The exception is a
//!   candidate that has forgotten as well, of old the newcomer itself. If it had won its term, a majority would
//!   be in it and one of them in the answers; if not, it never will, for it does not know any more that it stood, and
//!   a late vote counts only for the incarnation that asked for it.
//! - *Nothing committed is lost.* Take an entry that was committed in a term `T <= F` with the forgotten self's
//!   acknowledgement. If the current leader's term is above `T`, its log has the entry, by Raft's own argument:
//!   the newcomer had no part in any election since. Its no-op lies behind it, and is committed here. If
//!   the leader's term is `T`, it is the leader that counted the acknowledgement, and from the moment
//!   it answered the introduction it counts none of the forgotten self: what it had committed is in the answer.
//!   If all logs were empty after the start, the forgotten self had acknowledged nothing.
//! - *Nothing else is taken for committed.* A leader may still tell what the forgotten self had acknowledged, while the newcomer has a
//!   log of another leader, cut off and not deposed yet. So a follower commits by a heartbeat only as far as an append of the
//!   term's leader has shown to this start that the logs match (`Core::matched`).
//! - *No lease is broken.* A leader counts no answer of the forgotten self once it answered the introduction, and
//!   no vote is given for an election timeout since the start, as after any start.
//!
//! Every member must answer, and not a majority: a candidate that is cut off may be the only one who knows of a
//! vote. So a new cluster begins when all of its members were heard once (as Consul's `bootstrap-expect`), and a
//! replaced disk counts again when no other member is down. Up to a minority may be newcomers at a time.
//!
//! Compare the recovery of Viewstamped Replication Revisited (section 4.3), and Michael et al., "Recovering Shared
//! Objects Without Stable Storage" (DISC 2017), for what goes wrong when late messages of the forgotten self count.

pub(super) mod learned;

use super::core::Core;
use super::planted::PlantedBug;
use super::{Raft, Role};
use crate::io::Effect;
use crate::message::{Introduction, IntroductionRequest, IntroductionResponse, Message};
use crate::types::{Index, NodeId, Timestamp};
use learned::Newcomer;

impl Newcomer {
    /// Whether what is committed here makes good for the forgotten self, given that everyone answered.
    fn is_made_good(&self, core: &Core) -> bool {
        let founds = self.answers.values().all(|is_log_empty| *is_log_empty);
        let is_own_term = core.log.term_at(core.commit()) == Some(core.term());
        let has_all = core.commit() >= self.target || core.config.planted(PlantedBug::JoinsBelowTarget);
        founds || (is_own_term && has_all)
    }
}

impl Core {
    /// Whether this replica has yet to make good for what it may have promised before it forgot everything.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.newcomer.is_some()
    }

    /// Whether this replica may vote and stand for election.
    pub(crate) fn may_vote(&self) -> bool {
        self.is_voter() && !self.is_newcomer() && !self.is_suspect
    }

    /// The members that a newcomer has not heard yet.
    pub(crate) fn unheard(&self) -> Vec<NodeId> {
        let Some(newcomer) = &self.newcomer else { return Vec::new() };
        self.peers().into_iter().filter(|peer| !newcomer.has_heard(*peer)).collect()
    }

    /// When a newcomer asks again.
    pub(super) fn introduction_deadline(&self) -> Option<Timestamp> {
        self.newcomer.as_ref().map(|newcomer| newcomer.ask_at)
    }

    /// Asks everyone, if it is time to.
    pub(super) fn introduce_if_due(&mut self) {
        if self.introduction_deadline().is_none_or(|ask_at| ask_at > self.now) {
            return;
        }
        for peer in self.peers() {
            self.introduce(peer);
        }
        let ask_at = self.now.after_micros(self.config.election_timeout_us);
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.ask_at = ask_at;
        }
    }

    fn introduce(&mut self, to: NodeId) {
        let incarnation = self.config.incarnation;
        self.send(to, Message::IntroductionRequest(IntroductionRequest { incarnation }));
    }

    /// Is a member from now on, if nothing is missing any more.
    pub(super) fn join_if_ready(&mut self) {
        let Some(newcomer) = &self.newcomer else { return };
        if self.unheard().is_empty() && newcomer.is_made_good(self) {
            self.newcomer = None;
        }
    }
}

impl Raft {
    /// Answers a newcomer, whatever its term. A leader that counts answers of a later start welcomes no earlier one: the
    /// argument above rests on its having forgotten them.
    pub(super) fn introduced(&mut self, from: NodeId, request: &IntroductionRequest) {
        let incarnation = request.incarnation;
        let heard = match &mut self.role {
            Role::Leader(leader) => leader.introduced(&mut self.core, from, incarnation),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        };
        let outcome = match heard.filter(|heard| *heard > incarnation) {
            Some(by) => Introduction::Superseded { by },
            None => Introduction::Welcome {
                commit: self.core.commit(),
                is_log_empty: self.core.log.last().index == Index(0),
            },
        };
        let response = IntroductionResponse { incarnation, outcome };
        self.core.send(from, Message::IntroductionResponse(response));
        // It is there: there is no need to wait.
        if self.core.unheard().contains(&from) {
            self.core.introduce(from);
        }
    }

    /// A member answered; if its term is higher than this replica's, that was entered before.
    pub(super) fn introduction_answered(&mut self, from: NodeId, response: &IntroductionResponse) {
        let is_mine = response.incarnation == self.core.config.incarnation;
        let Some(newcomer) = self.core.newcomer.as_mut().filter(|_| is_mine) else { return };
        match response.outcome {
            Introduction::Welcome { commit, is_log_empty } => {
                newcomer.target = newcomer.target.max(commit);
                newcomer.answers.insert(from, is_log_empty);
            }
            Introduction::Superseded { by } => {
                let own = response.incarnation;
                self.core.effects.push(Effect::IncarnationSuperseded { own, by });
            }
        }
    }
}
