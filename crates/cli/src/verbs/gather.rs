//! Asks all nodes of a cluster at once, and puts together what they say.

use std::future::Future;
use std::time::Duration;

use ruvector_client::{ClientError, Endpoint, NodeClient, NodeStatus, Role};

use crate::failure::{Failure, Result};
use crate::target::Target;

/// How long a node may take to tell about itself; one that is stuck must not hold up the others' answers.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// What one node said.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// Where it was asked.
    pub(crate) endpoint: Endpoint,
    /// What it said.
    pub(crate) result: std::result::Result<T, ClientError>,
}

/// What the nodes of a cluster say of themselves.
#[derive(Debug)]
pub(crate) struct ClusterView {
    /// One for each node that was asked.
    pub(crate) answers: Vec<Answer<NodeStatus>>,
}

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

/// Asks every node the same at once. The answers come in the nodes' order.
pub(crate) async fn ask_all<T, F>(
    nodes: impl IntoIterator<Item = NodeClient>,
    question: impl Fn(NodeClient) -> F,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    F: Future<Output = std::result::Result<T, ClientError>> + Send + 'static,
{
    let asked: Vec<_> =
        nodes.into_iter().map(|node| (node.endpoint().clone(), tokio::spawn(question(node)))).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for (endpoint, task) in asked {
        let result = task.await.expect("a question neither panics nor is aborted");
        answers.push(Answer { endpoint, result });
    }
    answers
}

impl ClusterView {
    /// Asks the nodes of the target, and those that they know of beside.
    ///
    /// # Errors
    /// If none answers.
    pub(crate) async fn gather(target: &Target) -> Result<Self> {
        let client = target.client_with_timeout(STATUS_TIMEOUT)?;
        let mut view = Self { answers: ask_all(client.nodes(), status).await };
        let others = view.unasked_members();
        if !others.is_empty() {
            let client = Target::Endpoints(others).client_with_timeout(STATUS_TIMEOUT)?;
            view.answers.extend(ask_all(client.nodes(), status).await);
        }
        view.forget_repeated_nodes();
        match view.answers.first().map(|answer| &answer.result) {
            Some(Err(error)) if view.statuses().next().is_none() => {
                let endpoints: Vec<&str> = client.endpoints().map(Endpoint::as_str).collect();
                Err(match error {
                    ClientError::Unreachable { reason, .. } => {
                        ClientError::Unreachable { endpoints: endpoints.join(", "), reason: reason.clone() }
                            .into()
                    }
                    ClientError::InvalidEndpoint { .. }
                    | ClientError::NoEndpoints
                    | ClientError::NoLeader { .. }
                    | ClientError::Busy { .. }
                    | ClientError::OutcomeUnknown { .. }
                    | ClientError::TimedOut { .. }
                    | ClientError::Compacted { .. }
                    | ClientError::Refused { .. }
                    | ClientError::Unsupported { .. }
                    | ClientError::Malformed { .. } => Failure::from(error.clone()),
                })
            }
            Some(_) | None => Ok(view),
        }
    }

    /// What those say that answer.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.answers.iter().filter_map(|answer| answer.result.as_ref().ok())
    }

    /// The leader of the newest term.
    pub(crate) fn leader(&self) -> Option<&NodeStatus> {
        self.statuses().filter(|status| status.role == Role::Leader).max_by_key(|status| status.term)
    }

    /// Who knows best who the voters are: the leader, or else whoever has the newest log.
    pub(crate) fn best_informed(&self) -> Option<&NodeStatus> {
        self.leader().or_else(|| self.statuses().max_by_key(|status| (status.term, status.last_index)))
    }

    /// The name of a node, as the nodes tell it.
    pub(crate) fn name(&self, node_id: u64) -> String {
        let of_members = self.statuses().flat_map(|status| &status.members);
        let named = of_members.into_iter().find(|member| member.node_id == node_id);
        named.map_or_else(|| format!("{node_id:016x}"), |member| member.name.clone())
    }

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

    /// What a newcomer waits for, in words.
    pub(crate) fn what_is_awaited(&self, newcomer: &NodeStatus) -> String {
        let unheard: Vec<String> = newcomer.unheard_ids.iter().map(|id| self.name(*id)).collect();
        match unheard[..] {
            [] => "its data directory is new, and it is catching up".to_owned(),
            _ => format!("its data directory is new, and it must hear {} first", unheard.join(" and ")),
        }
    }

    /// Nodes whose states differ although they are after the same entry. There must never be any.
    pub(crate) fn diverged(&self) -> Option<(&NodeStatus, &NodeStatus)> {
        let statuses: Vec<_> = self.statuses().collect();
        statuses.iter().enumerate().find_map(|(position, one)| {
            let differs = |other: &&&NodeStatus| {
                other.applied_index == one.applied_index && other.state_hash != one.state_hash
            };
            statuses[position + 1..].iter().find(differs).map(|other| (*one, *other))
        })
    }

    fn unasked_members(&self) -> Vec<Endpoint> {
        let answered = |id: u64| self.statuses().any(|status| status.node_id == id);
        let asked = |address: &Endpoint| self.answers.iter().any(|answer| answer.endpoint == *address);
        let Some(status) = self.best_informed() else { return Vec::new() };
        let others = status.members.iter().filter(|member| !answered(member.node_id));
        others
            .filter_map(|member| member.client_address.as_deref()?.parse().ok())
            .filter(|address| !asked(address))
            .collect()
    }

    /// A node that was asked under two addresses counts once.
    fn forget_repeated_nodes(&mut self) {
        let mut seen = std::collections::BTreeSet::new();
        self.answers.retain(|answer| match &answer.result {
            Ok(status) => seen.insert(status.node_id),
            Err(_) => true,
        });
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

async fn status(node: NodeClient) -> std::result::Result<NodeStatus, ClientError> {
    node.status().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(present: &[&str], absent: &[&str]) -> QuorumView {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let voters = [names(present), names(absent)].concat();
        QuorumView { needed: voters.len() / 2 + 1, voters, present: names(present), absent: names(absent) }
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
