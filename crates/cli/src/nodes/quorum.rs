//! Whether the voters that answer are enough.

use ruvector_client::Role;

use super::view::ClusterView;
use crate::text::count;

/// Whether the cluster can decide anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuorumView {
    /// The names of the nodes whose votes count.
    pub(crate) voters: Vec<String>,
    /// How many of them must agree.
    pub(crate) needed: usize,
    /// Those that answer, follow the leader and count.
    pub(crate) present: Vec<String>,
    /// The others.
    pub(crate) absent: Vec<String>,
}

impl ClusterView {
    /// Counts the voters that answer and follow the leader.
    pub(crate) fn quorum(&self) -> QuorumView {
        let voter_ids = self.best_informed().map_or(&[][..], |status| &status.voter_ids);
        let leader = self.leader();
        let follows = |voter: u64| {
            self.statuses().any(|status| {
                let same_leader = leader.is_some_and(|leader| status.leader_id == Some(leader.node_id));
                status.node_id == voter && same_leader && status.role != Role::Newcomer
            })
        };
        let (present, absent): (Vec<u64>, Vec<u64>) = voter_ids.iter().partition(|voter| follows(**voter));
        let names = |ids: &[u64]| {
            let mut names: Vec<String> = ids.iter().map(|id| self.name(*id)).collect();
            names.sort();
            names
        };
        QuorumView {
            voters: names(voter_ids),
            needed: voter_ids.len() / 2 + 1,
            present: names(&present),
            absent: names(&absent),
        }
    }

    /// That there is no quorum, in words, if the voters that answer are too few and know no leader. If they know one, it can reach more nodes
    /// than can be reached from here.
    pub(crate) fn missing_quorum(&self) -> Option<String> {
        let voters = &self.best_informed()?.voter_ids;
        let needed = voters.len() / 2 + 1;
        let answers = |id: &u64| self.statuses().any(|status| status.node_id == *id);
        let (answering, silent): (Vec<u64>, Vec<u64>) = voters.iter().partition(|id| answers(id));
        if answering.len() >= needed || self.statuses().any(|status| status.leader_id.is_some()) {
            return None;
        }
        let names = |ids: &[u64]| {
            let mut names: Vec<String> = ids.iter().map(|id| self.name(*id)).collect();
            names.sort();
            names.join(", ")
        };
        Some(format!(
            "no quorum: {} of {} answer{} ({}), {needed} are needed; bring back {} of those that do not ({})",
            answering.len(),
            count(voters.len(), "node"),
            if answering.len() == 1 { "s" } else { "" },
            names(&answering),
            needed - answering.len(),
            names(&silent)
        ))
    }
}

impl QuorumView {
    /// Whether enough voters are there.
    pub(crate) fn holds(&self) -> bool {
        !self.voters.is_empty() && self.present.len() >= self.needed
    }

    /// The count in words: `3 voters, a quorum is ⌊3/2⌋ + 1 = 2; 2 follow the leader (…), 1 does not (…)`.
    pub(crate) fn arithmetic(&self) -> String {
        let voters = self.voters.len();
        let list = |names: &[String]| {
            if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
        };
        let voter_noun = if voters == 1 { "voter" } else { "voters" };
        let present = self.present.len();
        let absent = self.absent.len();
        let missing = match absent {
            0 => String::new(),
            1 => format!(", 1 does not{}", list(&self.absent)),
            _ => format!(", {absent} do not{}", list(&self.absent)),
        };
        format!(
            "{voters} {voter_noun}, a quorum is ⌊{voters}/2⌋ + 1 = {}; {present} follow{} the leader{}{missing}",
            self.needed,
            if present == 1 { "s" } else { "" },
            list(&self.present),
        )
    }
}

#[cfg(test)]
mod tests {
    use ruvector_client::NodeStatus;

    use super::super::view::tests::{node, view};
    use super::*;

    fn quorum(present: &[&str], absent: &[&str]) -> QuorumView {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let voters = [names(present), names(absent)].concat();
        QuorumView { needed: voters.len() / 2 + 1, voters, present: names(present), absent: names(absent) }
    }

    #[test]
    fn a_node_counts_that_follows_the_leader_and_is_no_newcomer() {
        let whole = view([node(1), node(2), node(3)]);
        assert_eq!(whole.quorum().present, ["node-1", "node-2", "node-3"]);
        let elsewhere = NodeStatus { leader_id: Some(2), ..node(2) };
        let newcomer = NodeStatus { role: Role::Newcomer, ..node(3) };
        let quorum = view([node(1), elsewhere, newcomer]).quorum();
        assert_eq!((quorum.present, quorum.needed), (vec!["node-1".to_owned()], 2));
        assert_eq!(quorum.absent, ["node-2", "node-3"]);
    }

    #[test]
    fn a_quorum_is_missing_if_too_few_answer_and_those_know_no_leader() {
        let lost = |id| NodeStatus { leader_id: None, role: Role::PreCandidate, ..node(id) };
        assert_eq!(
            view([lost(2)]).missing_quorum().as_deref(),
            Some(
                "no quorum: 1 of 3 nodes answers (node-2), 2 are needed; bring back 1 of those that do not (node-1, node-3)"
            )
        );
        assert_eq!(view([node(2)]).missing_quorum(), None, "it may reach more nodes than we do");
        assert_eq!(view([lost(1), lost(2)]).missing_quorum(), None, "an election may be under way");
    }

    #[test]
    fn a_quorum_is_more_than_half() {
        assert!(quorum(&["a", "b"], &["c"]).holds());
        assert!(!quorum(&["a"], &["b", "c"]).holds());
        assert!(!quorum(&["a", "b"], &["c", "d"]).holds());
        assert!(quorum(&["a"], &[]).holds());
        assert!(!quorum(&[], &[]).holds());
    }

    #[test]
    fn the_arithmetic_is_told_in_words() {
        assert_eq!(
            quorum(&["a", "b"], &["c"]).arithmetic(),
            "3 voters, a quorum is ⌊3/2⌋ + 1 = 2; 2 follow the leader (a, b), 1 does not (c)"
        );
        assert_eq!(
            quorum(&["a"], &[]).arithmetic(),
            "1 voter, a quorum is ⌊1/2⌋ + 1 = 1; 1 follows the leader (a)"
        );
    }
}
