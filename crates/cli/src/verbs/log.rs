//! `log` and `compact-log`: the replicated log of a node.

use clap::Args;
use ruvector_client::{Id, LogEntry, NodeClient, NodeStatus};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::nodes::{Answer, ClusterView, ask_all};
use crate::options::Common;
use crate::output::{Content, Output, Rows, Tone, note};
use crate::target::Target;
use crate::text::{cluster_time, count};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus log --tail 20
  ruvector consensus log --tail 5 --endpoints 127.0.0.1:7410 --json

Shows the leader's log, or the log of the one node that --endpoints names.")]
pub(crate) struct Log {
    /// How many entries, the newest.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tail: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus compact-log --before-index 1000
  ruvector consensus compact-log --before-index 1000 --endpoints 127.0.0.1:7400

Acts on every node of the cluster, or on those that --endpoints names. A node whose log is dropped takes a
snapshot first, so nothing is lost. Fails if any of the nodes did not do it.")]
pub(crate) struct CompactLog {
    /// Drop the entries below this index.
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    before_index: u64,
}

impl Log {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let target = Target::find(&common)?;
        let view = ClusterView::gather(&target).await?;
        let client = target.client()?;
        let asked: Vec<NodeClient> = client.nodes().collect();
        let node = match asked.as_slice() {
            [only] => only.clone(),
            _ => self.leader_or_first(&view, asked)?,
        };
        let entries = node.log_tail(self.tail).await?;
        let status = view.answers.iter().find(|answer| answer.endpoint == *node.endpoint());
        let node_name = status.and_then(|answer| answer.result.as_ref().ok()).map(|status| &status.node.name);
        if output.is_json() {
            let entries: Vec<_> = entries.iter().map(|entry| entry_json(entry, &view)).collect();
            return output.json(&json!({ "node": node_name, "entries": entries }));
        }
        note(format_args!("log of {}", node_name.map_or(node.endpoint().as_str(), String::as_str)));
        output.table(entry_table(&entries, &view))
    }

    fn leader_or_first(&self, view: &ClusterView, asked: Vec<NodeClient>) -> Result<NodeClient> {
        let leader_id = view.leader().map(|leader| leader.node.id);
        let is_leader = |answer: &&Answer<_>| {
            let status: Option<&NodeStatus> = answer.result.as_ref().ok();
            status.is_some_and(|status| Some(status.node.id) == leader_id)
        };
        let chosen = view
            .answers
            .iter()
            .find(is_leader)
            .or_else(|| view.answers.iter().find(|answer| answer.result.is_ok()))
            .map(|answer| answer.endpoint.clone());
        asked
            .into_iter()
            .find(|node| Some(node.endpoint()) == chosen.as_ref())
            .ok_or_else(|| Failure::failed("none of the nodes that were named answers: name one that runs"))
    }
}

impl CompactLog {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let before = self.before_index;
        let target = Target::find(&common)?;
        let client = target.client()?;
        let answers =
            ask_all(client.nodes(), move |node| async move { node.compact_log(before).await }).await;
        if output.is_json() {
            let nodes: Vec<_> = answers
                .iter()
                .map(|answer| {
                    json!({
                        "node": target.label(&answer.endpoint),
                        "client": answer.endpoint.as_str(),
                        "first_index": answer.result.as_ref().ok(),
                        "error": answer.result.as_ref().err().map(ToString::to_string),
                    })
                })
                .collect();
            output.json(&json!({ "before_index": before, "nodes": nodes }))?;
        } else {
            let mut rows = Rows::new(["NODE", "RESULT"]);
            for answer in &answers {
                let result = match &answer.result {
                    Ok(first) => Content::toned(format_args!("its log begins at {first}"), Tone::Good),
                    Err(error) => Content::toned(error, Tone::Bad),
                };
                rows.add([Content::toned(target.label(&answer.endpoint), Tone::Strong), result]);
            }
            output.table(rows)?;
        }
        let failed = answers.iter().filter(|answer| answer.result.is_err()).count();
        match failed {
            0 => Ok(()),
            failed => Err(Failure::failed(format!(
                "{failed} of {} did not compact; the reasons are above",
                count(answers.len(), "node")
            ))),
        }
    }
}

fn entry_table(entries: &[LogEntry], view: &ClusterView) -> Rows {
    let mut rows = Rows::new(["INDEX", "TERM", "CLUSTER TIME", "KIND", "FROM", "BYTES", "DOES"]);
    for entry in entries {
        rows.add([
            Content::toned(entry.index, Tone::Strong),
            entry.term.into(),
            cluster_time(entry.time_ms).into(),
            Content::toned(&entry.kind, if entry.kind == "command" { Tone::Plain } else { Tone::Faint }),
            entry.origin_id.map_or_else(|| "-".to_owned(), |origin| view.name(Id(origin))).into(),
            entry.command_bytes.into(),
            (&entry.description).into(),
        ]);
    }
    rows
}

fn entry_json(entry: &LogEntry, view: &ClusterView) -> serde_json::Value {
    json!({
        "index": entry.index,
        "term": entry.term,
        "time_ms": entry.time_ms,
        "kind": entry.kind,
        "origin": entry.origin_id.map(|origin| view.name(Id(origin))),
        "command_bytes": entry.command_bytes,
        "description": entry.description,
    })
}
