//! How a leader takes proposals into its log: each at once, or gathered.
//!
//! Every append costs all nodes a message, a sync and an answer, however little is in it. So a few proposals do not follow
//! at once on others that are still uncommitted: they wait for those, and for company (as Nagle's algorithm has small
//! segments wait for the acknowledgement of those before, RFC 896). Nobody waits when nothing is uncommitted, nor longer
//! than [`gather_us`](super::Config::gather_us), nor when many have come together.

use super::core::Core;
use super::gathered::weight;
use super::leader::Leader;
use super::planted::PlantedBug;
use super::status::LeaderQueues;
use crate::progress::Progress;
use crate::types::{Entry, Payload, Proposal};

impl Leader {
    /// Takes the proposals; returns those that there is no room for. With gathering, they are appended in a
    /// [`wake`](Leader::wake) that is due at once or when they have waited.
    pub(super) fn propose(&mut self, core: &mut Core, mut proposals: Vec<Proposal>) -> Vec<Proposal> {
        let room = match core.config.planted(PlantedBug::UncommittedUnbounded) {
            true => proposals.len(),
            false => self.room_for(core, &proposals),
        };
        let refused = proposals.split_off(room);
        self.gathered.add(core, proposals);
        if core.config.gather_us == 0 {
            self.append_gathered(core);
        }
        refused
    }

    /// Appends what was gathered, unless it may wait.
    pub(super) fn append_if_due(&mut self, core: &mut Core) {
        if !self.gathered.proposals.is_empty() && !self.gathered.may_wait(core) {
            self.append_gathered(core);
        }
    }

    fn append_gathered(&mut self, core: &mut Core) {
        self.gathered.bytes = 0;
        for proposal in std::mem::take(&mut self.gathered.proposals) {
            self.append(core, Payload::Command(proposal));
        }
        self.replicate_to_all(core);
    }

    /// Lets cluster time pass in the log.
    pub(super) fn propose_tick(&mut self, core: &mut Core) {
        if self.is_established(core) {
            self.append(core, Payload::Tick);
            self.replicate_to_all(core);
        }
    }

    pub(super) fn append(&mut self, core: &mut Core, payload: Payload) {
        let time = core.clock.read(core.now).max(core.log.last_time());
        let entry = Entry { term: core.term(), index: core.log.last().index.next(), time, payload };
        self.uncommitted_bytes += entry.weight();
        core.writes.log_changed_from(entry.index);
        core.log.append(entry);
    }

    /// How many of the proposals fit below the bound of uncommitted bytes. One always does when nothing is
    /// uncommitted; behind the first that does not fit none is taken, so that their order stays.
    fn room_for(&self, core: &Core, proposals: &[Proposal]) -> usize {
        let mut bytes = self.taken_bytes();
        proposals
            .iter()
            .take_while(|proposal| {
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(weight(proposal));
                is_first || bytes <= core.config.uncommitted_bytes_max
            })
            .count()
    }

    /// What is uncommitted, in the log or on its way there.
    fn taken_bytes(&self) -> usize {
        self.uncommitted_bytes + self.gathered.bytes
    }

    /// See [`LeaderQueues`].
    pub(super) fn queues(&self) -> LeaderQueues {
        LeaderQueues {
            uncommitted_bytes: self.taken_bytes(),
            gathered: self.gathered.proposals.len(),
            inflight_bytes: self.followers.values().map(Progress::inflight_bytes).max().unwrap_or(0),
        }
    }
}
