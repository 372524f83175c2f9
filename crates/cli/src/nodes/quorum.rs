//! Whether the voters that answer are enough.

use ruvector_client::{Named, Role};

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
        let voters = self.best_informed().map_or(&[][..], |status| &status.group.voters);
        let leader = self.leader();
        let follows = |voter: &&Named| {
            self.statuses().any(|status| {
                let same_leader =
                    leader.is_some_and(|leader| status.group.leader_id() == Some(leader.node.id));
                status.node.id == voter.id && same_leader && status.group.role != Role::Newcomer
            })
        };
        let (present, absent): (Vec<&Named>, Vec<&Named>) = voters.iter().partition(follows);
        QuorumView {
            voters: names(voters.iter()),
            needed: voters.len() / 2 + 1,
            present: names(present),
            absent: names(absent),
        }
    }

    /// That there is no quorum, in words, if the voters that answer are too few and know no leader. If they know one, it can reach more nodes
    /// than can be reached from here.
    pub(crate) fn missing_quorum(&self) -> Option<String> {
        let voters = &self.best_informed()?.group.voters;
        let needed = voters.len() / 2 + 1;
        let answers = |voter: &&Named| self.statuses().any(|status| status.node.id == voter.id);
        let (answering, silent): (Vec<&Named>, Vec<&Named>) = voters.iter().partition(answers);
        if answering.len() >= needed || self.statuses().any(|status| status.group.leader.is_some()) {
            return None;
        }
        Some(format!(
            "no quorum: {} of {} answer{} ({}), {needed} are needed; bring back {} of those that do not ({})",
            answering.len(),
            count(voters.len(), "node"),
            if answering.len() == 1 { "s" } else { "" },
            names(answering.iter().copied()).join(", "),
            needed - answering.len(),
            names(silent.iter().copied()).join(", ")
        ))
    }
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a Named>) -> Vec<String> {
    let mut names: Vec<String> = nodes.into_iter().map(|node| node.name.clone()).collect();
    names.sort();
    names
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
        let mut elsewhere = node(2);
        elsewhere.group.leader = Some(elsewhere.node.clone());
        let mut newcomer = node(3);
        newcomer.group.role = Role::Newcomer;
        let quorum = view([node(1), elsewhere, newcomer]).quorum();
        assert_eq!((quorum.present, quorum.needed), (vec!["node-1".to_owned()], 2));
        assert_eq!(quorum.absent, ["node-2", "node-3"]);
    }

    #[test]
    fn a_quorum_is_missing_if_too_few_answer_and_those_know_no_leader() {
        let lost = |id| {
            let mut lost = node(id);
            lost.group.leader = None;
            lost.group.role = Role::PreCandidate;
            lost
        };
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
