//! What the nodes of a cluster say of themselves, put together.

use std::time::Duration;

use ruvector_client::{Client, ClientError, Endpoint, Id, NodeClient, NodeStatus};

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
        self.statuses().filter(|status| status.leads()).max_by_key(|status| status.group.term)
    }

    /// Who knows best who the voters are: the leader, or else whoever has the newest log.
    pub(crate) fn best_informed(&self) -> Option<&NodeStatus> {
        self.leader()
            .or_else(|| self.statuses().max_by_key(|status| (status.group.term, status.group.last_index)))
    }

    /// The name of a node, as the nodes tell it.
    pub(crate) fn name(&self, id: Id) -> String {
        let of_members = self.statuses().flat_map(|status| &status.members);
        let named = of_members.into_iter().find(|member| member.id == id);
        named.map_or_else(|| id.to_string(), |member| member.name.clone())
    }

    /// The name of the node that was asked; `?` if it does not answer and nobody else knows it.
    pub(crate) fn name_at(&self, answer: &Answer<NodeStatus>) -> String {
        if let Ok(status) = &answer.result {
            return status.node.name.clone();
        }
        let mut members = self.statuses().flat_map(|status| &status.members);
        let known = members.find(|member| member.client_address.as_deref() == Some(answer.endpoint.as_str()));
        known.map_or_else(|| "?".to_owned(), |member| member.name.clone())
    }

    /// How many committed entries the node has not applied yet, as far as it or the leader knows.
    pub(crate) fn lag(&self, status: &NodeStatus) -> u64 {
        let by_leader = self.leader().map_or(0, |leader| leader.group.commit_index);
        by_leader.max(status.group.commit_index).saturating_sub(status.group.applied_index)
    }

    /// What a newcomer waits for, in words.
    pub(crate) fn what_is_awaited(&self, newcomer: &NodeStatus) -> String {
        let unheard: Vec<&str> = newcomer.group.unheard.iter().map(|node| node.name.as_str()).collect();
        match unheard[..] {
            [] => "its data directory is new, and it is catching up".to_owned(),
            _ => format!("its data directory is new, and it must hear {} first", unheard.join(" and ")),
        }
    }

    fn unasked_members(&self) -> Vec<Endpoint> {
        let answered = |id: Id| self.statuses().any(|status| status.node.id == id);
        let asked = |address: &Endpoint| self.answers.iter().any(|answer| answer.endpoint == *address);
        let Some(status) = self.best_informed() else { return Vec::new() };
        let others = status.members.iter().filter(|member| !answered(member.id));
        others
            .filter_map(|member| member.client_address.as_deref()?.parse().ok())
            .filter(|address| !asked(address))
            .collect()
    }

    /// A node that was asked under two addresses counts once.
    fn forget_repeated_nodes(&mut self) {
        let mut seen = std::collections::BTreeSet::new();
        self.answers.retain(|answer| match &answer.result {
            Ok(status) => seen.insert(status.node.id),
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
    use ruvector_client::{GroupStatus, MemberStatus, Named, Role};

    use super::*;

    fn named(id: u64) -> Named {
        Named { id: Id(id), name: format!("node-{id}") }
    }

    /// What nodes 1 to 3 would say that follow node 1, which leads.
    pub(in crate::nodes) fn node(id: u64) -> NodeStatus {
        let members =
            (1..=3).map(named).map(|Named { id, name }| MemberStatus { id, name, ..MemberStatus::default() });
        NodeStatus {
            node: named(id),
            members: members.collect(),
            group: GroupStatus {
                leader: Some(named(1)),
                role: if id == 1 { Role::Leader } else { Role::Follower },
                voters: (1..=3).map(named).collect(),
                ..GroupStatus::default()
            },
            ..NodeStatus::default()
        }
    }

    pub(in crate::nodes) fn view(statuses: impl IntoIterator<Item = NodeStatus>) -> ClusterView {
        let endpoint = |id: u64| format!("127.0.0.1:{id}").parse().expect("an endpoint");
        let answer = |status: NodeStatus| Answer { endpoint: endpoint(status.node.id.0), result: Ok(status) };
        ClusterView { answers: statuses.into_iter().map(answer).collect() }
    }

    #[test]
    fn a_node_that_was_asked_under_two_addresses_counts_once() {
        let mut twice = view([node(1), node(2), node(1)]);
        twice.forget_repeated_nodes();
        assert_eq!(twice.statuses().map(|status| status.node.id).collect::<Vec<_>>(), [Id(1), Id(2)]);
    }

    #[test]
    fn a_node_lags_by_what_it_or_the_leader_knows_to_be_committed() {
        let at = |id, commit_index, applied_index| {
            let mut status = node(id);
            status.group.commit_index = commit_index;
            status.group.applied_index = applied_index;
            status
        };
        let view = view([at(1, 10, 10), at(2, 7, 6), at(3, 12, 9)]);
        assert_eq!(view.statuses().map(|status| view.lag(status)).collect::<Vec<_>>(), [0, 4, 3]);
    }
}
