//! Proposals that wait for company, see [`proposals`](super::proposals), and what proposals weigh.

use super::core::Core;
use crate::types::{ENTRY_OVERHEAD_BYTES, NodeId, Proposal, Timestamp};

/// So many proposals wait for nobody.
const GATHERED_MAX: usize = 32;

/// Proposals that a leader has taken, and not yet into its log.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) proposals: Vec<Proposal>,
    /// What their entries will weigh.
    pub(super) bytes: usize,
    /// When the first of them must not wait any longer.
    due: Timestamp,
}

impl Gathered {
    /// When the leader must look at them, if there are any.
    pub(super) fn deadline(&self, core: &Core) -> Option<Timestamp> {
        if self.proposals.is_empty() {
            None
        } else if self.may_wait(core) {
            Some(self.due)
        } else {
            Some(core.now)
        }
    }

    /// Whether others are uncommitted, these are few and have not waited for long.
    pub(super) fn may_wait(&self, core: &Core) -> bool {
        core.log.last().index > core.commit() && self.proposals.len() < GATHERED_MAX && core.now < self.due
    }

    pub(super) fn add(&mut self, core: &Core, proposals: Vec<Proposal>) {
        if self.proposals.is_empty() {
            self.due = core.now.after_micros(core.config.gather_us);
        }
        self.bytes += proposals.iter().map(weight).sum::<usize>();
        self.proposals.extend(proposals);
    }

    /// Those that this node's own clients made, when they will not be appended.
    pub(super) fn into_own(self, node: NodeId) -> Vec<Proposal> {
        let mut proposals = self.proposals;
        proposals.retain(|proposal| proposal.origin.node == node);
        proposals
    }
}

/// How many of the proposals, from the first on, weigh at most `bytes_max` together; one always does.
pub(super) fn fitting_count(proposals: &[Proposal], bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = |proposal: &&Proposal| {
        bytes = bytes.saturating_add(weight(proposal));
        bytes <= bytes_max
    };
    proposals.iter().take_while(fits).count().max(1).min(proposals.len())
}

/// What the entry of a proposal weighs.
pub(super) fn weight(proposal: &Proposal) -> usize {
    ENTRY_OVERHEAD_BYTES + proposal.command.len()
}
