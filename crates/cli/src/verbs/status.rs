//! `status`: how every node does.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use ruvector_client::{GroupSummary, NodeStatus, PeerStatus, Role};
use serde_json::{Value, json};

use crate::failure::Result;
use crate::nodes::{Answer, ClusterView};
use crate::options::Common;
use crate::output::{Content, Output, Rows, Tone};
use crate::retention;
use crate::shapes::quorum_json;
use crate::target::Target;
use crate::text::{count, duration, size};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus status
  ruvector consensus status --detailed
  ruvector consensus status --endpoints 127.0.0.1:7400 --json
  ruvector consensus status --group shard-1

Nodes that the given ones know of are asked as well.")]
pub(crate) struct Status {
    /// Also show logs, stores and connections.
    #[arg(long)]
    detailed: bool,
}

impl Status {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let view = ClusterView::gather(&Target::find(&common)?).await?;
        if output.is_json() {
            output.json(&describe(&view))?;
        } else {
            print_summary(&view, output)?;
            output.table(node_table(&view))?;
            print_groups(&view, output)?;
            if self.detailed {
                output.line(format_args!("\n{}", output.toned("Logs and programs", Tone::Strong)))?;
                output.table(log_table(&view))?;
                output.line(format_args!("\n{}", output.toned("Stores", Tone::Strong)))?;
                output.table(store_table(&view))?;
                print_peers(&view, output)?;
            }
        }
        view.refuse_trouble()
    }
}

fn print_summary(view: &ClusterView, output: Output) -> Result {
    let Some(status) = view.best_informed() else { return Ok(()) };
    let quorum = view.quorum();
    let (mark, state) = match (quorum.holds(), quorum.absent.is_empty()) {
        _ if !view.troubles().is_empty() => {
            (output.toned("✗", Tone::Bad), "has replicas that contradict each other".to_owned())
        }
        (true, true) => (output.toned("✓", Tone::Good), "is healthy".to_owned()),
        (true, false) => {
            let spare = quorum.present.len() - quorum.needed;
            (output.toned("!", Tone::Bad), format!("has a quorum, {spare} more may fail"))
        }
        (false, _) => (output.toned("✗", Tone::Bad), "has no quorum".to_owned()),
    };
    let leader = match view.leader() {
        Some(leader) => format!("{} leads in term {}", leader.node_name, leader.term),
        None => "nobody leads".to_owned(),
    };
    output.line(format_args!(
        "{mark} Cluster {} {} {state}: {leader}, {} of {} follow, a quorum is {}.\n",
        output.toned(&status.cluster_name, Tone::Strong),
        output.toned(format_args!("({:016x})", status.cluster_id), Tone::Faint),
        quorum.present.len(),
        count(quorum.voters.len(), "voter"),
        quorum.needed
    ))
}

/// All groups, if there are others than the one that every cluster has.
fn print_groups(view: &ClusterView, output: Output) -> Result {
    let groups = groups(view);
    if groups.len() < 2 {
        return Ok(());
    }
    let mut rows =
        Rows::new(["GROUP", "LEADER", "TERM", "COMMIT", "MEMBERS", "REVISION", "KEYS", "SIZE", "NOTE"]);
    for group in groups.values() {
        rows.add([
            Content::toned(&group.name, Tone::Strong),
            match group.leader_id {
                Some(leader) => Content::toned(view.name(leader), Tone::Good),
                None => Content::toned("none", Tone::Bad),
            },
            group.term.into(),
            group.commit_index.into(),
            member_names(view, group).join(" ").into(),
            group.revision.into(),
            group.key_count.into(),
            size(group.store_bytes).into(),
            match &group.trouble {
                Some(trouble) => Content::toned(trouble, Tone::Bad),
                None => Content::toned("ok", Tone::Good),
            },
        ]);
    }
    output.line(format_args!("\n{}", output.toned("Groups", Tone::Strong)))?;
    output.table(rows)
}

/// All groups by name, each as that of its members tells it that has come furthest, with the trouble that any of them sees.
fn groups(view: &ClusterView) -> BTreeMap<String, GroupSummary> {
    let mut groups: BTreeMap<String, GroupSummary> = BTreeMap::new();
    for told in view.statuses().flat_map(|status| &status.groups) {
        let known = groups.entry(told.name.clone()).or_insert_with(|| told.clone());
        let trouble = known.trouble.take().or_else(|| told.trouble.clone());
        if (told.term, told.commit_index) > (known.term, known.commit_index) {
            known.clone_from(told);
        }
        known.trouble = trouble;
    }
    groups
}

fn member_names(view: &ClusterView, group: &GroupSummary) -> Vec<String> {
    let mut names: Vec<_> = group.voter_ids.iter().map(|id| view.name(*id)).collect();
    names.sort();
    names
}

fn group_json(view: &ClusterView, group: &GroupSummary) -> Value {
    json!({
        "name": group.name,
        "id": format!("{:016x}", group.id),
        "leader": group.leader_id.map(|leader| view.name(leader)),
        "term": group.term,
        "commit_index": group.commit_index,
        "applied_index": group.applied_index,
        "members": member_names(view, group),
        "revision": group.revision,
        "key_count": group.key_count,
        "store_bytes": group.store_bytes,
        "trouble": group.trouble,
    })
}

fn node_table(view: &ClusterView) -> Rows {
    let mut rows =
        Rows::new(["NODE", "ROLE", "CLIENTS", "TERM", "COMMIT", "APPLIED", "LAG", "REVISION", "NOTE"]);
    for answer in &view.answers {
        match &answer.result {
            Ok(status) => rows.add([
                Content::toned(&status.node_name, Tone::Strong),
                role_content(status.role),
                answer.endpoint.as_str().into(),
                status.term.into(),
                status.commit_index.into(),
                status.applied_index.into(),
                lag(view, status).into(),
                status.revision.into(),
                remark(view, status),
            ]),
            Err(error) => {
                let unknown = || Content::toned("-", Tone::Faint);
                let mut cells = vec![
                    Content::toned(name_at(view, answer), Tone::Strong),
                    Content::toned("?", Tone::Bad),
                    answer.endpoint.as_str().into(),
                ];
                cells.extend((0..5).map(|_| unknown()));
                cells.push(Content::toned(short_reason(error), Tone::Bad));
                rows.add(cells);
            }
        }
    }
    rows
}

fn log_table(view: &ClusterView) -> Rows {
    let headers =
        ["NODE", "FIRST", "LAST", "LAST TERM", "SIZE", "SYNCS", "SNAPSHOT", "LEADER CHANGES", "VERSION"];
    let mut rows = Rows::new(headers);
    for status in view.statuses() {
        rows.add([
            Content::toned(&status.node_name, Tone::Strong),
            status.first_index.into(),
            status.last_index.into(),
            status.last_term.into(),
            size(status.log_bytes).into(),
            status.log_syncs.into(),
            status.snapshot_index.map_or_else(|| "none".to_owned(), |index| format!("at {index}")).into(),
            status.leader_changes.into(),
            (&status.version).into(),
        ]);
    }
    rows
}

fn store_table(view: &ClusterView) -> Rows {
    let mut rows = Rows::new([
        "NODE",
        "KEYS",
        "SIZE",
        "LEASES",
        "REVISION",
        "COMPACTED",
        "HISTORY",
        "KEEPS",
        "AT MOST OLD",
        "WAITING",
        "STATE HASH",
    ]);
    for status in view.statuses() {
        rows.add([
            Content::toned(&status.node_name, Tone::Strong),
            status.key_count.into(),
            size(status.store_bytes).into(),
            status.lease_count.into(),
            status.revision.into(),
            status.compacted_revision.into(),
            status.history_count.into(),
            retention::describe(status.retention_age_ms, status.retention_bytes).into(),
            status
                .staleness_us
                .map_or_else(|| "unknown".to_owned(), |age| duration(Duration::from_micros(age)))
                .into(),
            status.pending_proposals.into(),
            Content::toned(
                format_args!("{} at {}", abbreviated(&status.state_hash), status.applied_index),
                Tone::Faint,
            ),
        ]);
    }
    rows
}

/// What the leader knows of the others.
fn print_peers(view: &ClusterView, output: Output) -> Result {
    let Some(leader) = view.leader().filter(|leader| !leader.peers.is_empty()) else { return Ok(()) };
    let mut rows = Rows::new(["PEER", "CONNECTED", "MATCHED", "COMMIT", "STATE", "HEARD", "DROPPED"]);
    for peer in &leader.peers {
        let dash = || "-".to_owned();
        rows.add([
            Content::toned(&peer.name, Tone::Strong),
            if peer.connected { Content::toned("yes", Tone::Good) } else { Content::toned("no", Tone::Bad) },
            peer.matched_index.map_or_else(dash, |index| index.to_string()).into(),
            match (peer.contradicts_index, peer.commit_index) {
                (Some(index), _) => Content::toned(index, Tone::Bad),
                (None, commit) => commit.map_or_else(dash, |index| index.to_string()).into(),
            },
            peer.state.clone().unwrap_or_else(dash).into(),
            peer.heard_us_ago
                .map_or_else(dash, |age| format!("{} ago", duration(Duration::from_micros(age))))
                .into(),
            peer.dropped_messages.into(),
        ]);
    }
    let title = format!("Peers, as {} sees them", leader.node_name);
    output.line(format_args!("\n{}", output.toned(title, Tone::Strong)))?;
    output.table(rows)
}

fn role_content(role: Role) -> Content {
    let tone = match role {
        Role::Leader => Tone::Good,
        Role::Follower => Tone::Plain,
        Role::PreCandidate | Role::Candidate | Role::Newcomer => Tone::Bad,
    };
    Content::toned(role, tone)
}

/// How many committed entries the node has not applied yet, as far as it or the leader knows.
fn lag(view: &ClusterView, status: &NodeStatus) -> u64 {
    let committed = view.leader().map_or(0, |leader| leader.commit_index).max(status.commit_index);
    committed.saturating_sub(status.applied_index)
}

fn remark(view: &ClusterView, status: &NodeStatus) -> Content {
    if status.role == Role::Newcomer {
        return Content::toned(view.what_is_awaited(status), Tone::Bad);
    }
    if let Some(trouble) = view.troubles().into_iter().find(|trouble| trouble.node == status.node_name) {
        return Content::toned(trouble.text, Tone::Bad);
    }
    let Some(leader) = view.leader() else { return Content::toned("knows no leader", Tone::Bad) };
    if status.leader_id == Some(leader.node_id) {
        return match view.troubles().is_empty() {
            true => Content::toned("ok", Tone::Good),
            false => Content::toned("follows", Tone::Plain),
        };
    }
    let text = match status.leader_id {
        Some(other) => format!("follows {}", view.name(other)),
        None => "knows no leader".to_owned(),
    };
    Content::toned(text, Tone::Bad)
}

/// The name of a node that does not answer, if the others know who is there.
fn name_at(view: &ClusterView, answer: &Answer<NodeStatus>) -> String {
    let mut members = view.statuses().flat_map(|status| &status.members);
    let known = members.find(|member| member.client_address.as_deref() == Some(answer.endpoint.as_str()));
    known.map_or_else(|| "?".to_owned(), |member| member.name.clone())
}

fn short_reason(error: &ruvector_client::ClientError) -> String {
    use ruvector_client::ClientError;
    match error {
        ClientError::Unreachable { reason, .. } => reason.clone(),
        ClientError::TimedOut { .. } => "no answer in time".to_owned(),
        ClientError::InvalidEndpoint { .. }
        | ClientError::NoEndpoints
        | ClientError::NoLeader { .. }
        | ClientError::Busy { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::Compacted { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Refused { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Malformed { .. } => error.to_string(),
    }
}

fn abbreviated(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn describe(view: &ClusterView) -> Value {
    let quorum = view.quorum();
    let best = view.best_informed();
    json!({
        "cluster": best.map(|status| &status.cluster_name),
        "cluster_id": best.map(|status| format!("{:016x}", status.cluster_id)),
        "leader": view.leader().map(|leader| &leader.node_name),
        "term": best.map(|status| status.term),
        "quorum": quorum_json(view, &quorum),
        "group": best.map(|status| &status.group_name),
        "groups": groups(view).values().map(|group| group_json(view, group)).collect::<Vec<_>>(),
        "nodes": view.answers.iter().map(|answer| node_json(view, answer)).collect::<Vec<_>>(),
    })
}

fn node_json(view: &ClusterView, answer: &Answer<NodeStatus>) -> Value {
    let status = match &answer.result {
        Ok(status) => status,
        Err(error) => {
            return json!({
                "id": name_at(view, answer),
                "client": answer.endpoint.as_str(),
                "reachable": false,
                "error": error.to_string(),
            });
        }
    };
    json!({
        "id": status.node_name,
        "member_id": format!("{:016x}", status.node_id),
        "client": answer.endpoint.as_str(),
        "peer": status.peer_address,
        "reachable": true,
        "role": status.role.to_string(),
        "leader": status.leader_id.map(|leader| view.name(leader)),
        "term": status.term,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "lag": lag(view, status),
        "first_index": status.first_index,
        "last_index": status.last_index,
        "last_term": status.last_term,
        "snapshot_index": status.snapshot_index,
        "log_bytes": status.log_bytes,
        "log_syncs": status.log_syncs,
        "pending_proposals": status.pending_proposals,
        "leader_changes": status.leader_changes,
        "cluster_time_ms": status.cluster_time_ms,
        "staleness_us": status.staleness_us,
        "state_hash": status.state_hash,
        "revision": status.revision,
        "compacted_revision": status.compacted_revision,
        "history_count": status.history_count,
        "retention": { "age_ms": status.retention_age_ms, "bytes": status.retention_bytes },
        "key_count": status.key_count,
        "store_bytes": status.store_bytes,
        "lease_count": status.lease_count,
        "unheard": status.unheard_ids.iter().map(|id| view.name(*id)).collect::<Vec<_>>(),
        "version": status.version,
        "trouble": status.trouble,
        "differs_at_index": status.differs_at_index,
        "peers": status.peers.iter().map(peer_json).collect::<Vec<_>>(),
    })
}

fn peer_json(peer: &PeerStatus) -> Value {
    json!({
        "id": peer.name,
        "connected": peer.connected,
        "matched_index": peer.matched_index,
        "state": peer.state,
        "heard_us_ago": peer.heard_us_ago,
        "dropped_messages": peer.dropped_messages,
        "commit_index": peer.commit_index,
        "contradicts_index": peer.contradicts_index,
        "unmatched_us": peer.unmatched_us,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_lags_by_what_it_or_the_leader_knows_to_be_committed() {
        let node = |node_id, role, commit_index, applied_index| NodeStatus {
            node_id,
            role,
            commit_index,
            applied_index,
            ..NodeStatus::default()
        };
        let statuses =
            [node(1, Role::Leader, 10, 10), node(2, Role::Follower, 7, 6), node(3, Role::Follower, 12, 9)];
        let answer = |status: &NodeStatus| Answer {
            endpoint: format!("127.0.0.1:{}", status.node_id).parse().unwrap(),
            result: Ok(status.clone()),
        };
        let view = ClusterView { answers: statuses.iter().map(answer).collect() };
        assert_eq!(statuses.each_ref().map(|status| lag(&view, status)), [0, 4, 3]);
    }
}
