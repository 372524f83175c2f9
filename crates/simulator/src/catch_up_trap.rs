//! A trap for a newcomer that has caught up by half: the moment in which it would do harm if it took part already.
//!
//! Of three nodes one follower is starved: it hears its leader, and no entries. What is committed meanwhile is with the
//! leader and the other follower, which then loses its disk. While it gets everything again, and has some of it, the
//! leader goes. The two that are left have a majority between them, and must not elect anybody without what they lack.

use ruvector_node::replica::{PeerMessage, ReplicaMessage};
use ruvector_protocol::message::AppendOutcome;
use ruvector_protocol::{Envelope, Message};
use ruvector_storage::disk::simulated::Crash;

use crate::trace::Place;
use crate::world::{Happening, World, place_of};

/// The trap, while it is laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatchUpTrap {
    leader: usize,
    starved: usize,
    forgetful: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Entries come to be committed that the starved follower lacks.
    Starving,
    /// The other follower begins anew; so many of its acknowledgements are let pass.
    CatchingUp { spared: u64 },
}

/// In clusters of so many nodes the two followers of a leader are a majority.
const NODES: usize = 3;
/// How long the follower is starved at most, in microseconds.
const STARVING_US_MAX: u64 = 300_000;
/// How soon the follower that loses its disk is started again at most, in microseconds.
const RESTART_US_MAX: u64 = 3_000;
/// How many of its acknowledgements are let pass at most.
const SPARED_MAX: u64 = 6;
/// Within how many election timeouts its acknowledgements must come.
const CATCHING_UP_TIMEOUTS: u64 = 4;
/// For how many election timeouts the leader is gone.
const GONE_TIMEOUTS: u64 = 12;

impl World {
    /// Begins to starve a follower.
    pub(crate) fn lay_catch_up_trap(&mut self) {
        let leader = (0..self.hosts.len()).find(|node| self.leads(*node));
        let (Some(leader), NODES, None) = (leader, self.hosts.len(), self.catch_up_trap) else { return };
        let starved = (leader + usize::try_from(self.random.between(1, 2)).unwrap_or(1)) % NODES;
        let forgetful = NODES - leader - starved;
        self.catch_up_trap = Some(CatchUpTrap { leader, starved, forgetful, stage: Stage::Starving });
        let at_us = self.now_us + self.random.magnitude(5_000, STARVING_US_MAX);
        self.plan(at_us, Happening::Forget);
    }

    /// The follower that has everything loses its disk, and is back at once; or the trap is given up.
    pub(crate) fn forget_in_trap(&mut self) {
        let Some(mut trap) = self.catch_up_trap.take() else { return };
        if trap.stage != Stage::Starving {
            // The newcomer's acknowledgements did not come in time.
            return;
        }
        let runs = (0..self.hosts.len()).all(|node| self.hosts[node].process.is_some());
        if !self.stormy || !runs || !self.leads(trap.leader) || !self.can_be_spared(trap.forgetful) {
            return;
        }
        self.crash(trap.forgetful, Crash::LoseUnsynced);
        self.replace_disk(trap.forgetful);
        let at_us = self.now_us + self.random.between(500, RESTART_US_MAX);
        self.plan(at_us, Happening::Start(trap.forgetful));
        trap.stage = Stage::CatchingUp { spared: self.random.between(0, SPARED_MAX) };
        self.catch_up_trap = Some(trap);
        self.plan(self.now_us + self.election_timeout_us() * CATCHING_UP_TIMEOUTS, Happening::Forget);
    }

    /// Whether a message is lost because its receiver is starved.
    pub(crate) fn is_starved(&self, message: &PeerMessage) -> bool {
        let link = (place_of(message.from()), place_of(message.to()));
        let is_meal = match message {
            PeerMessage::Consensus(envelope) => matches!(envelope.message, Message::AppendRequest(_)),
            PeerMessage::Replica(envelope) => matches!(envelope.message, ReplicaMessage::SnapshotChunk(_)),
        };
        is_meal && self.catch_up_trap.is_some_and(|trap| link == (trap.leader, trap.starved))
    }

    /// A node has sent a message: if it is the newcomer's acknowledgement, its leader may go.
    pub(crate) fn spring_catch_up_trap(&mut self, envelope: &Envelope) {
        let Some(trap) = &mut self.catch_up_trap else { return };
        let Message::AppendResponse(response) = &envelope.message else { return };
        let link = (place_of(envelope.from), place_of(envelope.to));
        let is_accepted = matches!(response.outcome, AppendOutcome::Accepted { .. });
        let Stage::CatchingUp { spared } = &mut trap.stage else { return };
        if link != (trap.forgetful, trap.leader) || !is_accepted {
            return;
        }
        if *spared > 0 {
            *spared -= 1;
            return;
        }
        let leader = trap.leader;
        self.catch_up_trap = None;
        if self.hosts[leader].process.is_none() {
            return;
        }
        self.statistics.left_half_caught_up += 1;
        self.trace.record(self.now_us, Place::World, "catch-up", || {
            format!("fault: leader {} goes while node {} catches up", leader + 1, envelope.from)
        });
        self.keep_down_until(leader, self.now_us + self.election_timeout_us() * GONE_TIMEOUTS);
    }
}
