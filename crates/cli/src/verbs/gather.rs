//! Asks all nodes of a cluster at once, and puts together what they say.

use std::future::Future;
use std::time::Duration;

use ruvector_client::{ClientError, Endpoint, NodeClient, NodeStatus, PeerStatus, Role};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, Result};
use crate::target::Target;
use crate::text::count;

/// How long a node may take to tell about itself.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long any node is waited for while none has answered.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the others are waited for when one has answered; one that is stuck must not hold up what there is to show.
const GRACE: Duration = Duration::from_secs(1);

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

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The node that it is about.
    pub(crate) node: String,
    /// What it is.
    pub(crate) text: String,
}

/// For how long a leader may look for where a follower's log parts from its own, in microseconds. It takes a few round
/// trips.
const UNMATCHED_US_MAX: u64 = 10_000_000;

fn trouble_with(status: &NodeStatus, peer: &PeerStatus) -> Option<Trouble> {
    let text = if let Some(index) = peer.contradicts_index {
        format!(
            "{} has committed entry {index}, which {} as its leader does not have",
            peer.name, status.node_name
        )
    } else {
        let since_us = peer.unmatched_us.filter(|since_us| *since_us > UNMATCHED_US_MAX)?;
        format!("{}'s log does not match {}'s since {} s", peer.name, status.node_name, since_us / 1_000_000)
    };
    Some(Trouble { node: peer.name.clone(), text })
}

/// Asks every node the same at once, and waits for all. The answers come in the nodes' order.
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

/// Like [`ask_all`], for what a node answers at once if it does: when one has, the others get [`GRACE`] more, so that one that stands still
/// holds up nobody.
pub(crate) async fn ask_all_briefly<T, F>(
    nodes: impl IntoIterator<Item = NodeClient>,
    question: impl Fn(NodeClient) -> F,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    F: Future<Output = std::result::Result<T, ClientError>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    let mut answers = Vec::new();
    for (position, node) in nodes.into_iter().enumerate() {
        let endpoint = node.endpoint().clone();
        let reason = format!("{endpoint} is silent while others answer");
        answers.push(Answer { endpoint, result: Err(ClientError::TimedOut { reason }) });
        let asking = question(node);
        asked.spawn(async move { (position, asking.await) });
    }
    let mut until = Instant::now() + SILENCE_MAX;
    while let Ok(Some(answered)) = timeout_at(until, asked.join_next()).await {
        let (position, result) = answered.expect("a question neither panics nor is aborted");
        if result.is_ok() {
            until = until.min(Instant::now() + GRACE);
        }
        answers[position].result = result;
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
        let mut view = Self { answers: ask_all_briefly(client.nodes(), status).await };
        let others = view.unasked_members();
        if !others.is_empty() {
            let client = Target::Endpoints(others).client_with_timeout(STATUS_TIMEOUT)?;
            view.answers.extend(ask_all_briefly(client.nodes(), status).await);
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
                    | ClientError::TooLarge { .. }
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

    /// What must never be: replicas that contradict each other, as they say themselves or as their answers show. A healthy cluster
    /// has none, also while its leader changes or a node comes back.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let told = self.statuses().flat_map(|status| {
            let differs = status.differs_at_index.map(|index| Trouble {
                node: status.node_name.clone(),
                text: format!(
                    "{}'s state differs from a peer's since index {index}, and no majority can tell which is right",
                    status.node_name
                ),
            });
            let of_peers = status.peers.iter().filter_map(|peer| trouble_with(status, peer));
            differs.into_iter().chain(of_peers)
        });
        let seen = self.diverged().map(|(one, other)| Trouble {
            node: other.node_name.clone(),
            text: format!(
                "{} and {} differ after the same entry {} (state hashes {} and {})",
                one.node_name, other.node_name, one.applied_index, one.state_hash, other.state_hash
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
    use ruvector_client::NodeAddress;

    use super::*;

    fn quorum(present: &[&str], absent: &[&str]) -> QuorumView {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let voters = [names(present), names(absent)].concat();
        QuorumView { needed: voters.len() / 2 + 1, voters, present: names(present), absent: names(absent) }
    }

    /// What nodes 1 to 3 would say that follow node 1, which leads.
    fn node(node_id: u64) -> NodeStatus {
        let members = (1..=3).map(|id| NodeAddress {
            node_id: id,
            name: format!("node-{id}"),
            peer_address: String::new(),
            client_address: None,
        });
        NodeStatus {
            node_id,
            leader_id: Some(1),
            role: if node_id == 1 { Role::Leader } else { Role::Follower },
            voter_ids: vec![1, 2, 3],
            members: members.collect(),
            ..NodeStatus::default()
        }
    }

    fn view(statuses: impl IntoIterator<Item = NodeStatus>) -> ClusterView {
        let endpoint = |id: u64| format!("127.0.0.1:{id}").parse().expect("an endpoint");
        let answer = |status: NodeStatus| Answer { endpoint: endpoint(status.node_id), result: Ok(status) };
        ClusterView { answers: statuses.into_iter().map(answer).collect() }
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
    fn nodes_that_differ_after_the_same_entry_are_found() {
        let at = |id, applied_index, hash: &str| NodeStatus {
            applied_index,
            state_hash: hash.to_owned(),
            ..node(id)
        };
        assert!(view([at(1, 5, "a"), at(2, 5, "a"), at(3, 4, "b")]).diverged().is_none());
        let differing = view([at(1, 6, "c"), at(2, 5, "a"), at(3, 5, "b")]);
        let (one, other) = differing.diverged().expect("two that differ");
        assert_eq!((one.node_id, other.node_id), (2, 3));
    }

    #[test]
    fn a_node_that_was_asked_under_two_addresses_counts_once() {
        let mut twice = view([node(1), node(2), node(1)]);
        twice.forget_repeated_nodes();
        assert_eq!(twice.statuses().map(|status| status.node_id).collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test]
    async fn one_that_is_silent_holds_up_nobody_and_is_named() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address").to_string();
        let options = ruvector_client::ClientOptions::default();
        let client =
            ruvector_client::Client::new([address.as_str(), "127.0.0.2:1"], options).expect("endpoints");
        let question = |node: NodeClient| async move {
            if node.endpoint().as_str().ends_with(":1") { Ok(1) } else { std::future::pending().await }
        };
        let answers = ask_all_briefly(client.nodes(), question).await;
        let [one, other] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(other.result, Ok(1));
        let error = one.result.as_ref().expect_err("it said nothing").to_string();
        assert!(error.contains(&format!("{address} is silent while others answer")), "{error}");
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
