//! What must never be: replicas that contradict each other.

use ruvector_client::{NodeStatus, PeerStatus};

use super::view::ClusterView;
use crate::failure::{Failure, Result};

/// For how long a leader may look for where a follower's log parts from its own, in microseconds. It takes a few round
/// trips.
const UNMATCHED_US_MAX: u64 = 10_000_000;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The node that it is about.
    pub(crate) node: String,
    /// What it is.
    pub(crate) text: String,
}

impl ClusterView {
    /// Nodes whose states differ although they are after the same entry. There must never be any.
    pub(crate) fn diverged(&self) -> Option<(&NodeStatus, &NodeStatus)> {
        let statuses: Vec<_> = self.statuses().collect();
        statuses.iter().enumerate().find_map(|(position, one)| {
            let differs = |other: &&&NodeStatus| {
                other.group.applied_index == one.group.applied_index
                    && other.group.state_hash != one.group.state_hash
            };
            statuses[position + 1..].iter().find(differs).map(|other| (*one, *other))
        })
    }

    /// What must never be: replicas that contradict each other, as they say themselves or as their answers show. A healthy cluster
    /// has none, also while its leader changes or a node comes back.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let told = self.statuses().flat_map(|status| {
            let differs = status.group.differs_at_index.map(|index| Trouble {
                node: status.node.name.clone(),
                text: format!(
                    "{}'s state differs from a peer's since index {index}, and no majority can tell which is right",
                    status.node.name
                ),
            });
            let of_peers = status.group.peers.iter().filter_map(|peer| trouble_with(status, peer));
            let of_groups = status.other_groups.iter().filter_map(|group| {
                let text = format!("group {}: {} says that {}", group.name, status.node.name, group.trouble.as_ref()?);
                Some(Trouble { node: status.node.name.clone(), text })
            });
            differs.into_iter().chain(of_peers).chain(of_groups)
        });
        let seen = self.diverged().map(|(one, other)| Trouble {
            node: other.node.name.clone(),
            text: format!(
                "{} and {} differ after the same entry {} (state hashes {} and {})",
                one.node.name,
                other.node.name,
                one.group.applied_index,
                one.group.state_hash,
                other.group.state_hash
            ),
        });
        told.chain(seen).collect()
    }

    /// Fails if there is trouble.
    ///
    /// # Errors
    /// What the trouble is.
    pub(crate) fn refuse_trouble(&self) -> Result {
        match &self.troubles()[..] {
            [] => Ok(()),
            troubles => Err(Failure::failed(format!(
                "{}: acknowledged writes may be lost; stop writing, keep all data directories, and see OPERATIONS.md, \
                 \"Replicas contradict each other\"",
                troubles.iter().map(|trouble| trouble.text.as_str()).collect::<Vec<_>>().join("; ")
            ))),
        }
    }
}

fn trouble_with(status: &NodeStatus, peer: &PeerStatus) -> Option<Trouble> {
    let text = if let Some(index) = peer.contradicts_index {
        format!(
            "{} has committed entry {index}, which {} as its leader does not have",
            peer.peer.name, status.node.name
        )
    } else {
        let since_us = peer.unmatched_us.filter(|since_us| *since_us > UNMATCHED_US_MAX)?;
        format!(
            "{}'s log does not match {}'s since {} s",
            peer.peer.name,
            status.node.name,
            since_us / 1_000_000
        )
    };
    Some(Trouble { node: peer.peer.name.clone(), text })
}

#[cfg(test)]
mod tests {
    use ruvector_client::Id;

    use super::super::view::tests::{node, view};

    #[test]
    fn nodes_that_differ_after_the_same_entry_are_found() {
        let at = |id, applied_index, hash: &str| {
            let mut status = node(id);
            status.group.applied_index = applied_index;
            status.group.state_hash = hash.to_owned();
            status
        };
        assert!(view([at(1, 5, "a"), at(2, 5, "a"), at(3, 4, "b")]).diverged().is_none());
        let differing = view([at(1, 6, "c"), at(2, 5, "a"), at(3, 5, "b")]);
        let (one, other) = differing.diverged().expect("two that differ");
        assert_eq!((one.node.id, other.node.id), (Id(2), Id(3)));
    }
}
