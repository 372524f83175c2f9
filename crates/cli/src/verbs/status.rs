//! `status`: how every node does.

mod report;

use std::time::Duration;

use clap::Args;
use ruvector_client::{NodeStatus, Role};

use crate::failure::Result;
use crate::nodes::ClusterView;
use crate::options::Common;
use crate::output::{Content, Output, Rows, Tone};
use crate::retention;
use crate::target::Target;
use crate::text::{count, duration, size};
use report::{StatusReport, groups, member_names};

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
            output.json(&StatusReport::of(&view))?;
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
        Some(leader) => format!("{} leads in term {}", leader.node.name, leader.group.term),
        None => "nobody leads".to_owned(),
    };
    output.line(format_args!(
        "{mark} Cluster {} {} {state}: {leader}, {} of {} follow, a quorum is {}.\n",
        output.toned(&status.cluster.name, Tone::Strong),
        output.toned(format_args!("({})", status.cluster.id), Tone::Faint),
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
        let store = group.store();
        rows.add([
            Content::toned(&group.name, Tone::Strong),
            match &group.leader {
                Some(leader) => Content::toned(&leader.name, Tone::Good),
                None => Content::toned("none", Tone::Bad),
            },
            group.term.into(),
            group.commit_index.into(),
            member_names(group).join(" ").into(),
            store.revision.into(),
            store.key_count.into(),
            size(store.bytes).into(),
            match &group.trouble {
                Some(trouble) => Content::toned(trouble, Tone::Bad),
                None => Content::toned("ok", Tone::Good),
            },
        ]);
    }
    output.line(format_args!("\n{}", output.toned("Groups", Tone::Strong)))?;
    output.table(rows)
}

fn node_table(view: &ClusterView) -> Rows {
    let mut rows =
        Rows::new(["NODE", "ROLE", "CLIENTS", "TERM", "COMMIT", "APPLIED", "LAG", "REVISION", "NOTE"]);
    for answer in &view.answers {
        match &answer.result {
            Ok(status) => rows.add([
                Content::toned(&status.node.name, Tone::Strong),
                role_content(status.group.role),
                answer.endpoint.as_str().into(),
                status.group.term.into(),
                status.group.commit_index.into(),
                status.group.applied_index.into(),
                view.lag(status).into(),
                status.group.store().revision.into(),
                remark(view, status),
            ]),
            Err(error) => {
                let unknown = || Content::toned("-", Tone::Faint);
                let mut cells = vec![
                    Content::toned(view.name_at(answer), Tone::Strong),
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
            Content::toned(&status.node.name, Tone::Strong),
            status.group.first_index.into(),
            status.group.last_index.into(),
            status.group.last_term.into(),
            size(status.log_bytes).into(),
            status.log_syncs.into(),
            status
                .group
                .snapshot_index
                .map_or_else(|| "none".to_owned(), |index| format!("at {index}"))
                .into(),
            status.group.leader_changes.into(),
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
        let (group, store) = (&status.group, status.group.store());
        let staleness = group.staleness_us.map(|age| duration(Duration::from_micros(age)));
        rows.add([
            Content::toned(&status.node.name, Tone::Strong),
            store.key_count.into(),
            size(store.bytes).into(),
            store.lease_count.into(),
            store.revision.into(),
            store.compacted_revision.into(),
            store.history_count.into(),
            retention::describe(store.retention).into(),
            staleness.unwrap_or_else(|| "unknown".to_owned()).into(),
            group.pending_proposals.into(),
            Content::toned(
                format_args!("{} at {}", abbreviated(&group.state_hash), group.applied_index),
                Tone::Faint,
            ),
        ]);
    }
    rows
}

/// What the leader knows of the others.
fn print_peers(view: &ClusterView, output: Output) -> Result {
    let Some(leader) = view.leader().filter(|leader| !leader.group.peers.is_empty()) else { return Ok(()) };
    let mut rows = Rows::new(["PEER", "CONNECTED", "MATCHED", "COMMIT", "STATE", "HEARD", "DROPPED"]);
    for peer in &leader.group.peers {
        let dash = || "-".to_owned();
        let connection = leader.connection(peer.peer.id).cloned().unwrap_or_default();
        rows.add([
            Content::toned(&peer.peer.name, Tone::Strong),
            if connection.connected {
                Content::toned("yes", Tone::Good)
            } else {
                Content::toned("no", Tone::Bad)
            },
            peer.matched_index.map_or_else(dash, |index| index.to_string()).into(),
            match (peer.contradicts_index, peer.commit_index) {
                (Some(index), _) => Content::toned(index, Tone::Bad),
                (None, commit) => commit.map_or_else(dash, |index| index.to_string()).into(),
            },
            peer.state.clone().unwrap_or_else(dash).into(),
            peer.heard_us_ago
                .map_or_else(dash, |age| format!("{} ago", duration(Duration::from_micros(age))))
                .into(),
            connection.dropped_messages.into(),
        ]);
    }
    let title = format!("Peers, as {} sees them", leader.node.name);
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

fn remark(view: &ClusterView, status: &NodeStatus) -> Content {
    if status.group.role == Role::Newcomer {
        return Content::toned(view.what_is_awaited(status), Tone::Bad);
    }
    if let Some(trouble) = view.troubles().into_iter().find(|trouble| trouble.node == status.node.name) {
        return Content::toned(trouble.text, Tone::Bad);
    }
    let Some(leader) = view.leader() else { return Content::toned("knows no leader", Tone::Bad) };
    if status.group.leader_id() == Some(leader.node.id) {
        return match view.troubles().is_empty() {
            true => Content::toned("ok", Tone::Good),
            false => Content::toned("follows", Tone::Plain),
        };
    }
    let text = match &status.group.leader {
        Some(other) => format!("follows {}", other.name),
        None => "knows no leader".to_owned(),
    };
    Content::toned(text, Tone::Bad)
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
