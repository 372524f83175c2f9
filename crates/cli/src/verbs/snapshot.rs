//! `snapshot`: take, list and restore snapshots of the nodes' states.

mod restore;

use std::time::SystemTime;

use clap::Args;
use ruvector_client::Snapshot as NodeSnapshot;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::nodes::{Answer, ask_all, ask_all_briefly};
use crate::options::Common;
use crate::output::{Content, Output, Rows, Tone};
use crate::target::Target;
use crate::text::{cluster_time, count, size, time_for_names};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus snapshot --create
  ruvector consensus snapshot --create --name before-upgrade
  ruvector consensus snapshot --list
  ruvector consensus snapshot --restore --from before-upgrade

Every node that is asked takes a snapshot of its own state, and keeps it in its data directory.
--restore stops a cluster of this machine, takes it back to the snapshot and starts it again; it asks
first, and keeps the old data directories.")]
pub(crate) struct Snapshot {
    #[command(flatten)]
    action: Action,

    /// What to call the snapshot [default: snapshot-YYYY-MM-DD-HHMMSS, in UTC].
    #[arg(long, value_name = "NAME", requires = "create", conflicts_with_all = ["list", "restore"])]
    name: Option<String>,

    /// The snapshot to restore.
    #[arg(long, value_name = "NAME", requires = "restore", conflicts_with_all = ["create", "list"])]
    from: Option<String>,

    /// Restore without asking.
    #[arg(long, short, requires = "restore", conflicts_with_all = ["create", "list"])]
    yes: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Action {
    /// Take a snapshot.
    #[arg(long)]
    create: bool,

    /// List the snapshots that there are.
    #[arg(long)]
    list: bool,

    /// Take a cluster of this machine back to a snapshot.
    #[arg(long, requires = "from")]
    restore: bool,
}

impl Snapshot {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        if self.action.create {
            let name = self.name.unwrap_or_else(|| format!("snapshot-{}", time_for_names(SystemTime::now())));
            return create(&common, name, output).await;
        }
        if let Some(name) = self.from.filter(|_| self.action.restore) {
            return restore::restore(&common, &name, self.yes, output).await;
        }
        list(&common, output).await
    }
}

async fn create(common: &Common, name: String, output: Output) -> Result {
    let target = Target::find(common)?;
    let client = target.client()?;
    let question = |name: String| {
        move |node: ruvector_client::NodeClient| {
            let name = name.clone();
            async move { node.create_snapshot(&name).await }
        }
    };
    let answers = ask_all(client.nodes(), question(name.clone())).await;
    if output.is_json() {
        let nodes: Vec<_> = answers.iter().map(|answer| node_json(&target, answer, snapshot_json)).collect();
        output.json(&json!({ "name": name, "nodes": nodes }))?;
    } else {
        let mut rows = Rows::new(["NODE", "SNAPSHOT", "STATE AFTER ENTRY", "SIZE"]);
        for answer in &answers {
            let node = Content::toned(target.label(&answer.endpoint), Tone::Strong);
            match &answer.result {
                Ok(snapshot) => rows.add([
                    node,
                    Content::toned(&snapshot.name, Tone::Good),
                    snapshot.index.into(),
                    size(snapshot.file_bytes).into(),
                ]),
                Err(error) => rows.add([node, Content::toned(error, Tone::Bad)]),
            }
        }
        output.table(rows)?;
    }
    let failed = answers.iter().filter(|answer| answer.result.is_err()).count();
    if failed == 0 {
        return Ok(());
    }
    let nodes = count(answers.len(), "node");
    Err(Failure::failed(format!("{failed} of {nodes} took no snapshot `{name}`; the reasons are above")))
}

async fn list(common: &Common, output: Output) -> Result {
    let target = Target::find(common)?;
    let client = target.client()?;
    let answers = ask_all_briefly(client.nodes(), |node| async move { node.list_snapshots().await }).await;
    if output.is_json() {
        let nodes: Vec<_> = answers
            .iter()
            .map(|answer| {
                node_json(&target, answer, |snapshots: &Vec<NodeSnapshot>| {
                    json!(snapshots.iter().map(snapshot_json).collect::<Vec<_>>())
                })
            })
            .collect();
        output.json(&json!({ "nodes": nodes }))?;
    } else {
        let mut rows =
            Rows::new(["NODE", "SNAPSHOT", "STATE AFTER ENTRY", "CLUSTER TIME", "SIZE", "MADE BY"]);
        for answer in &answers {
            add_rows(&mut rows, target.label(&answer.endpoint), answer);
        }
        if rows.is_empty() {
            output.line("No node has a snapshot; `snapshot --create` takes one.")?;
        } else {
            output.table(rows)?;
            tell_damage(&target, &answers, output)?;
        }
    }
    if answers.iter().any(|answer| answer.result.is_ok()) {
        return Ok(());
    }
    match answers.into_iter().find_map(|answer| answer.result.err()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn add_rows(rows: &mut Rows, label: &str, answer: &Answer<Vec<NodeSnapshot>>) {
    let node = || Content::toned(label, Tone::Strong);
    match &answer.result {
        Ok(snapshots) => {
            for snapshot in snapshots {
                let made_by = if snapshot.automatic { "the node, for itself" } else { "request" };
                let [index, time, bytes] = match snapshot.damage {
                    // Why, is told below the table.
                    Some(_) => [Content::toned("damaged", Tone::Bad), "".into(), "".into()],
                    None => [
                        snapshot.index.into(),
                        cluster_time(snapshot.time_ms).into(),
                        size(snapshot.file_bytes).into(),
                    ],
                };
                rows.add([node(), (&snapshot.name).into(), index, time, bytes, made_by.into()]);
            }
        }
        Err(error) => rows.add([node(), Content::toned(error, Tone::Bad)]),
    }
}

fn tell_damage(target: &Target, answers: &[Answer<Vec<NodeSnapshot>>], output: Output) -> Result {
    for answer in answers {
        for snapshot in answer.result.iter().flatten() {
            if let Some(damage) = &snapshot.damage {
                let label = target.label(&answer.endpoint);
                output.line(format_args!("\n{label} can't use {}: {damage}", snapshot.name))?;
            }
        }
    }
    Ok(())
}

fn snapshot_json(snapshot: &NodeSnapshot) -> Value {
    json!({
        "name": snapshot.name,
        "index": snapshot.index,
        "term": snapshot.term,
        "time_ms": snapshot.time_ms,
        "file_bytes": snapshot.file_bytes,
        "automatic": snapshot.automatic,
        "damage": snapshot.damage,
    })
}

fn node_json<T>(target: &Target, answer: &Answer<T>, result: impl Fn(&T) -> Value) -> Value {
    json!({
        "node": target.label(&answer.endpoint),
        "client": answer.endpoint.as_str(),
        "result": answer.result.as_ref().ok().map(result),
        "error": answer.result.as_ref().err().map(ToString::to_string),
    })
}
