//! What the nodes of a cluster say of themselves, put together.

use std::time::Duration;

use ruvector_client::{Client, ClientError, Endpoint, NodeClient, NodeStatus, Role};

use super::ask::{Answer, ask_all_briefly};
use crate::failure::{Failure, Result};
use crate::target::Target;

/// How long a node may take to tell about itself.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// What the nodes of a cluster say of themselves.
#[derive(Debug)]
pub(crate) struct ClusterView {
    /// One for each node that was asked.
    pub(crate) answers: Vec<Answer<NodeStatus>>,
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
            let client = target.at(others).client_with_timeout(STATUS_TIMEOUT)?;
            view.answers.extend(ask_all_briefly(client.nodes(), status).await);
        }
        view.forget_repeated_nodes();
        match view.answers.first() {
            Some(Answer { result: Err(error), .. }) if view.statuses().next().is_none() => {
                Err(nobody_answers(&client, error))
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

    /// What a newcomer waits for, in words.
    pub(crate) fn what_is_awaited(&self, newcomer: &NodeStatus) -> String {
        let unheard: Vec<String> = newcomer.unheard_ids.iter().map(|id| self.name(*id)).collect();
        match unheard[..] {
            [] => "its data directory is new, and it is catching up".to_owned(),
            _ => format!("its data directory is new, and it must hear {} first", unheard.join(" and ")),
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

/// What is said if none of the nodes that were asked answers, and this is how the first of them failed.
fn nobody_answers(asked: &Client, first: &ClientError) -> Failure {
    let ClientError::Unreachable { reason, .. } = first else { return first.clone().into() };
    let endpoints: Vec<&str> = asked.endpoints().map(Endpoint::as_str).collect();
    ClientError::Unreachable { endpoints: endpoints.join(", "), reason: reason.clone() }.into()
}

async fn status(node: NodeClient) -> std::result::Result<NodeStatus, ClientError> {
    node.status().await
}

#[cfg(test)]
pub(super) mod tests {
    use ruvector_client::NodeAddress;

    use super::*;

    /// What nodes 1 to 3 would say that follow node 1, which leads.
    pub(in crate::nodes) fn node(node_id: u64) -> NodeStatus {
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

    pub(in crate::nodes) fn view(statuses: impl IntoIterator<Item = NodeStatus>) -> ClusterView {
        let endpoint = |id: u64| format!("127.0.0.1:{id}").parse().expect("an endpoint");
        let answer = |status: NodeStatus| Answer { endpoint: endpoint(status.node_id), result: Ok(status) };
        ClusterView { answers: statuses.into_iter().map(answer).collect() }
    }

    #[test]
    fn a_node_that_was_asked_under_two_addresses_counts_once() {
        let mut twice = view([node(1), node(2), node(1)]);
        twice.forget_repeated_nodes();
        assert_eq!(twice.statuses().map(|status| status.node_id).collect::<Vec<_>>(), [1, 2]);
    }
}
