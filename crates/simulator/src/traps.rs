//! Faults that strike at the moment a certain message is sent: the moments that matter are too short to be
//! hit by chance.

use ruvector_protocol::{Envelope, Message, NodeId, Term};
use ruvector_storage::disk::simulated::Crash;

use crate::network::links_between;
use crate::trace::Place;
use crate::world::{Happening, Relief, World, place_of};

/// Which messages a trap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bait {
    /// A vote for somebody else.
    Vote,
    /// A candidate's request for votes.
    Candidacy,
    /// An acknowledgement of entries.
    Acknowledgement,
    /// Entries.
    Entries,
}

/// The machine that sends a certain message loses power before it syncs again.
#[derive(Clone, Copy, Debug)]
pub struct PowerTrap {
    bait: Bait,
    /// How many such messages are let pass.
    spared: u64,
    /// All machines lose power, not only this one.
    everywhere: bool,
}

/// Each new leader is cut off soon after it begins to replicate, and the one before it returns: logs come to
/// differ as in figure 3.7 of the Raft thesis.
#[derive(Clone, Debug)]
pub struct Chase {
    rounds_left: u64,
    /// How many messages with entries are let pass in this round.
    spared: u64,
    /// The term of the last leader that was cut off.
    term: Term,
    /// What it was cut off from.
    cut: Vec<(usize, usize)>,
}

/// A candidate reaches one voter alone, which crashes as it votes and is back at once, while the candidate is gone:
/// now another candidate, who knows nothing of that, may ask the voter in the same term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteTrap {
    /// Waits for a candidate.
    Candidacy,
    /// Waits for the vote.
    Vote {
        /// Who is to vote.
        voter: NodeId,
        /// For whom.
        candidate: NodeId,
    },
}

/// In how many election timeouts somebody else is elected.
const ELECTION_TIMEOUTS: u64 = 5;
/// How soon a voter that crashed is started again at most, in microseconds.
const VOTER_RESTART_US_MAX: u64 = 3_000;

impl Bait {
    /// All of them; a vote is worth more tries, for it is rare.
    const DRAWN: [Self; 5] = [Self::Vote, Self::Vote, Self::Candidacy, Self::Acknowledgement, Self::Entries];

    fn attracts(self, envelope: &Envelope) -> bool {
        match &envelope.message {
            Message::VoteResponse(response) => self == Self::Vote && response.granted,
            Message::VoteRequest(_) => self == Self::Candidacy,
            Message::AppendResponse(_) => self == Self::Acknowledgement,
            Message::AppendRequest(request) => self == Self::Entries && !request.entries.is_empty(),
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::Heartbeat(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_)
            | Message::IntroductionRequest(_)
            | Message::IntroductionResponse(_) => false,
        }
    }
}

impl World {
    /// Lays a trap for the next message of some kind.
    pub(crate) fn lay_power_trap(&mut self) {
        let bait = Bait::DRAWN[self.random.index(Bait::DRAWN.len())];
        let spared = if bait == Bait::Vote { 0 } else { self.random.between(0, 5) };
        let everywhere = self.random.chance(500);
        self.power_trap = Some(PowerTrap { bait, spared, everywhere });
        if bait == Bait::Vote && self.random.chance(700) {
            self.kill_leader();
        }
    }

    /// Begins to chase leaders.
    pub(crate) fn begin_chase(&mut self) {
        self.end_chase();
        let rounds_left = self.random.between(3, 10);
        let spared = self.random.between(0, 4);
        self.chase = Some(Chase { rounds_left, spared, term: Term(0), cut: Vec::new() });
    }

    /// Lets the last leader that was cut off return.
    pub(crate) fn end_chase(&mut self) {
        if let Some(chase) = self.chase.take() {
            self.network.mend(&chase.cut);
        }
    }

    /// A node is about to send a message: cuts it off if it is chased.
    pub(crate) fn chase(&mut self, envelope: &Envelope) {
        let Some(chase) = &mut self.chase else { return };
        if !Bait::Entries.attracts(envelope) || envelope.term <= chase.term {
            return;
        }
        if chase.spared > 0 {
            chase.spared -= 1;
            return;
        }
        let Some(chase) = self.chase.take() else { return };
        self.network.mend(&chase.cut);
        if chase.rounds_left == 0 {
            return;
        }
        let node = place_of(envelope.from);
        let others: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != node).collect();
        let cut = links_between(&[node], &others);
        self.network.cut(&cut);
        self.statistics.leaders_chased += 1;
        self.trace.record(self.now_us, Place::World, "chase", || {
            format!("fault: leader {} of term {} is cut off", envelope.from, envelope.term)
        });
        let spared = self.random.between(0, 4);
        self.chase = Some(Chase { rounds_left: chase.rounds_left - 1, spared, term: envelope.term, cut });
    }

    /// A node has sent a message: takes its power if it went into a trap.
    pub(crate) fn spring_power_trap(&mut self, envelope: &Envelope) {
        let Some(trap) = &mut self.power_trap else { return };
        if !trap.bait.attracts(envelope) {
            return;
        }
        if trap.spared > 0 {
            trap.spared -= 1;
            return;
        }
        let everywhere = trap.everywhere;
        self.power_trap = None;
        self.statistics.crashes_at_send += 1;
        let sender = place_of(envelope.from);
        for node in 0..self.hosts.len() {
            if (everywhere || node == sender) && self.hosts[node].process.is_some() {
                self.crash(node, Crash::LoseUnsynced);
            }
        }
    }

    /// Lays a trap for the next candidate and its voter.
    pub(crate) fn lay_vote_trap(&mut self) {
        self.vote_trap = Some(VoteTrap::Candidacy);
        self.kill_leader();
    }

    /// A node has sent a message: see [`VoteTrap`].
    pub(crate) fn spring_vote_trap(&mut self, envelope: &Envelope) {
        match (self.vote_trap, &envelope.message) {
            (Some(VoteTrap::Candidacy), Message::VoteRequest(_)) => {
                let (voter, candidate) = (envelope.to, envelope.from);
                let ignorant = |node: &usize| *node != place_of(voter) && *node != place_of(candidate);
                let ignorant: Vec<usize> = (0..self.hosts.len()).filter(ignorant).collect();
                self.cut_off_for_an_election(place_of(candidate), &ignorant);
                self.vote_trap = Some(VoteTrap::Vote { voter, candidate });
            }
            (Some(VoteTrap::Vote { voter, candidate }), Message::VoteResponse(response))
                if response.granted && (envelope.from, envelope.to) == (voter, candidate) =>
            {
                self.vote_trap = None;
                self.statistics.crashes_at_vote += 1;
                let voter = place_of(voter);
                self.cut_off_for_an_election(place_of(candidate), &[voter]);
                let crash = if self.random.chance(500) { Crash::ProcessOnly } else { Crash::LoseUnsynced };
                self.crash(voter, crash);
                let at_us = self.now_us + self.random.between(500, VOTER_RESTART_US_MAX);
                self.plan(at_us, Happening::Start(voter));
            }
            _ => {}
        }
    }

    fn cut_off_for_an_election(&mut self, node: usize, others: &[usize]) {
        let links = links_between(&[node], others);
        self.network.cut(&links);
        let at_us = self.now_us + self.election_timeout_us() * ELECTION_TIMEOUTS;
        self.plan(at_us, Happening::Relieve(Relief::Links(links)));
    }

    fn kill_leader(&mut self) {
        if let Some(leader) = (0..self.hosts.len()).find(|node| self.leads(*node)) {
            self.crash(leader, Crash::ProcessOnly);
        }
    }
}
