//! How replicas notice that one of their disks has lost what was committed.
//!
//! A disk that is replaced by an older copy of itself forgets votes and entries, and its replica does not know. With it
//! and others that never had those entries a majority can elect a leader without them. Nothing in Raft heals that; but
//! whoever still has the entries, and knows them to be committed, sees that its leader does not. See
//! [`Effect::Contradicted`] for why nothing else can look like this.

use super::core::Core;
use super::leader::Leader;
use super::planted::PlantedBug;
use crate::io::{Contradiction, Effect};
use crate::message::{FollowerStamp, HeartbeatResponse, LeaderStamp, Message};
use crate::types::{Entry, LogPosition, NodeId, Reign, Term};

impl Core {
    /// A peer speaks as the leader of this term. Returns whether it can be: there is no other reign in this term, its log
    /// has all that is committed here, and this one has what it is known to have had.
    pub(super) fn meet_leader(&mut self, leader: NodeId, stamp: &LeaderStamp) -> bool {
        let claimed = Reign { leader, since: stamp.leads_since };
        let contradiction = match self.reign {
            Some(known) if known != claimed => Some(Contradiction::Reign { known, claimed }),
            Some(_) if self.is_leader_compared => None,
            Some(_) | None => self.missing_at_leader(stamp.elected_with),
        };
        if let Some(contradiction) = contradiction {
            self.contradict(leader, contradiction, stamp);
            return false;
        }
        self.reign = Some(claimed);
        self.is_leader_compared = true;
        self.has_what_it_had(stamp.acknowledged)
    }

    /// Where a leader's entries, or the one before them, contradict what is committed here.
    pub(super) fn committed_otherwise_among(
        &self,
        previous: LogPosition,
        entries: &[Entry],
    ) -> Option<Contradiction> {
        std::iter::once(previous)
            .chain(entries.iter().map(Entry::position))
            .take_while(|theirs| theirs.index <= self.commit())
            .find_map(|theirs| self.committed_otherwise(theirs))
    }

    /// Whether another entry than the leader's is committed in its place.
    pub(super) fn committed_otherwise(&self, theirs: LogPosition) -> Option<Contradiction> {
        let term = self.log.remembered_term(theirs.index).filter(|_| theirs.index <= self.commit())?;
        let own = LogPosition { term, index: theirs.index };
        (own != theirs).then_some(Contradiction::Entry { own, theirs: theirs.term })
    }

    /// Where cluster time would go back from what this log holds to the first of a leader's entries that it does not hold. The one
    /// before has the leader's term and index, and can't be the leader's: time never falls along a log.
    pub(super) fn time_goes_back(&self, entries: &[Entry]) -> Option<Contradiction> {
        let first = entries.iter().find(|entry| !self.log.matches(entry.position()))?;
        let before = first.index.previous()?;
        let own_time = self.log.time_at(before).filter(|time| *time > first.time)?;
        let own = LogPosition { term: self.log.term_at(before)?, index: before };
        Some(Contradiction::Time { own, own_time, next_time: first.time })
    }

    /// What is committed here and can't be in the log of a leader that was elected when it ended at `elected_with`. What is
    /// committed of the leader's own term it made later.
    fn missing_at_leader(&self, elected_with: LogPosition) -> Option<Contradiction> {
        let older = Term(self.term().0.saturating_sub(1));
        let own = self.log.highest_at_most(self.commit(), older)?;
        if own.index > elected_with.index {
            return Some(Contradiction::Missing { own, leader_last: elected_with });
        }
        self.committed_otherwise(elected_with)
    }

    /// Tells the leader what it lacks, so that both can be seen to be in trouble, and the node to stop.
    pub(super) fn contradict(&mut self, leader: NodeId, contradiction: Contradiction, stamp: &LeaderStamp) {
        self.drop_message();
        if self.config.planted(PlantedBug::ContradictionIgnored) {
            return;
        }
        let stamp = FollowerStamp { is_contradicted: true, ..self.follower_stamp(stamp) };
        self.send(leader, Message::HeartbeatResponse(HeartbeatResponse { remembered: Vec::new(), stamp }));
        self.effects.push(Effect::Contradicted { leader, contradiction });
    }
}

impl Leader {
    /// Whether a follower has committed nothing but what is in this leader's log, as far as that still knows.
    pub(super) fn agrees(core: &mut Core, follower: NodeId, stamp: &FollowerStamp) -> bool {
        let committed = stamp.committed;
        let is_beyond = committed.index > core.log.last().index;
        let is_other = core.log.remembered_term(committed.index).is_some_and(|term| term != committed.term);
        let is_missed = is_beyond || is_other || stamp.is_contradicted;
        if !is_missed || core.config.planted(PlantedBug::ContradictionIgnored) {
            core.contradicted_by.remove(&follower);
            return true;
        }
        if core.contradicted_by.insert(follower, committed).is_none() {
            core.effects.push(Effect::FollowerContradicts { follower, committed });
        }
        false
    }
}
