//! What `status --json` prints. `docs/schema/status.json` is its JSON schema.

use std::collections::BTreeMap;

use ruvector_client::{GroupStatus, NodeStatus};
use serde::Serialize;

use crate::nodes::{Answer, ClusterView};
use crate::shapes::QuorumReport;

/// A cluster, as its nodes tell of it. Fields are added in later versions, and none is renamed or means something else.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct StatusReport<'view> {
    /// The cluster's name.
    cluster: Option<&'view str>,
    /// The cluster's id, in hexadecimal.
    cluster_id: Option<String>,
    /// The group that is spoken of where none is named.
    group: Option<&'view str>,
    /// The name of that group's leader.
    leader: Option<&'view str>,
    /// That group's term.
    term: Option<u64>,
    /// Whether that group can decide anything.
    quorum: QuorumReport,
    /// All groups, each as that of its members tells it that has come furthest.
    groups: Vec<GroupReport>,
    /// The nodes that were asked.
    nodes: Vec<NodeReport<'view>>,
}

/// A node that was asked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NodeReport<'view> {
    /// Its name; `?` if nobody knows it.
    id: String,
    /// Where it was asked, `host:port`.
    client: &'view str,
    /// Whether it answered.
    reachable: bool,
    /// Why it did not answer.
    error: Option<String>,
    /// How many committed entries it has not applied, as far as it or the leader knows.
    lag: Option<u64>,
    /// What it says, unchanged.
    status: Option<&'view NodeStatus>,
}

/// A group in a few words.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct GroupReport {
    /// Its name.
    name: String,
    /// Its id, in hexadecimal.
    id: String,
    /// What any of its members sees that must never be.
    trouble: Option<String>,
    /// Its leader's name.
    leader: Option<String>,
    /// Its term.
    term: u64,
    /// The index up to which entries are committed.
    commit_index: u64,
    /// The names of the nodes whose votes count.
    members: Vec<String>,
    /// Its store's revision.
    revision: i64,
    /// How many keys it has.
    key_count: u64,
    /// Bytes of keys, values and history.
    store_bytes: u64,
}

impl<'view> StatusReport<'view> {
    pub(super) fn of(view: &'view ClusterView) -> Self {
        let best = view.best_informed();
        Self {
            cluster: best.map(|status| status.cluster.name.as_str()),
            cluster_id: best.map(|status| status.cluster.id.to_string()),
            group: best.map(|status| status.group.name.as_str()),
            leader: view.leader().map(|leader| leader.node.name.as_str()),
            term: best.map(|status| status.group.term),
            quorum: QuorumReport::of(view, &view.quorum()),
            groups: groups(view).into_values().map(GroupReport::of).collect(),
            nodes: view.answers.iter().map(|answer| NodeReport::of(view, answer)).collect(),
        }
    }
}

impl<'view> NodeReport<'view> {
    fn of(view: &ClusterView, answer: &'view Answer<NodeStatus>) -> Self {
        let status = answer.result.as_ref().ok();
        Self {
            id: view.name_at(answer),
            client: answer.endpoint.as_str(),
            reachable: status.is_some(),
            error: answer.result.as_ref().err().map(ToString::to_string),
            lag: status.map(|status| view.lag(status)),
            status,
        }
    }
}

impl GroupReport {
    fn of(group: GroupStatus) -> Self {
        let store = group.store();
        Self {
            members: member_names(&group),
            name: group.name,
            id: group.id.to_string(),
            trouble: group.trouble,
            leader: group.leader.map(|leader| leader.name),
            term: group.term,
            commit_index: group.commit_index,
            revision: store.revision,
            key_count: store.key_count,
            store_bytes: store.bytes,
        }
    }
}

/// All groups by name, each as that of its members tells it that has come furthest, with the trouble that any of them sees.
pub(super) fn groups(view: &ClusterView) -> BTreeMap<String, GroupStatus> {
    let mut groups: BTreeMap<String, GroupStatus> = BTreeMap::new();
    for told in view.statuses().flat_map(NodeStatus::groups) {
        let known = groups.entry(told.name.clone()).or_insert_with(|| told.clone());
        let trouble = known.trouble.take().or_else(|| told.trouble.clone());
        if (told.term, told.commit_index) > (known.term, known.commit_index) {
            known.clone_from(told);
        }
        known.trouble = trouble;
    }
    groups
}

/// The names of a group's voters.
pub(super) fn member_names(group: &GroupStatus) -> Vec<String> {
    let mut names: Vec<_> = group.voters.iter().map(|voter| voter.name.clone()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the schema is documented, from this crate.
    const DOCUMENTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/status.json");

    #[test]
    fn the_documented_schema_is_what_is_printed() {
        let schema = schemars::schema_for!(StatusReport<'static>);
        let schema = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            std::fs::write(DOCUMENTED, &schema).expect("the schema can be written");
        }
        let documented = std::fs::read_to_string(DOCUMENTED).unwrap_or_default();
        assert!(
            documented == schema,
            "docs/schema/status.json is not what `status --json` prints; `UPDATE_DOCUMENTS=1 cargo test --profile checked \
             -p ruvector-cli the_documented_schema` writes it"
        );
    }
}
