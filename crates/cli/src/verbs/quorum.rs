//! `leader` and `quorum`: who leads, and whether anything can be decided.

use clap::Args;
use ruvector_client::{NodeStatus, Role};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::nodes::ClusterView;
use crate::options::Common;
use crate::output::{Output, Tone};
use crate::shapes::QuorumReport;
use crate::target::Target;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus leader --show
  ruvector consensus leader --show --json

Fails if nobody leads.")]
pub(crate) struct Leader {
    /// Show who leads; this is what the verb does without flags too.
    #[arg(long)]
    show: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus quorum --check
  ruvector consensus quorum --check --json

Fails if there is no quorum, or if replicas contradict each other, so that scripts can ask.")]
pub(crate) struct Quorum {
    /// Check whether a quorum follows the leader; this is what the verb does without flags too.
    #[arg(long)]
    check: bool,
}

impl Leader {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let view = ClusterView::gather(&Target::find(&common)?).await?;
        let Some(leader) = view.leader() else {
            let describe = |status: &NodeStatus| match status.group.role {
                Role::Newcomer => {
                    format!("{} ({}: {})", status.node.name, status.group.role, view.what_is_awaited(status))
                }
                Role::Follower | Role::PreCandidate | Role::Candidate | Role::Leader => {
                    format!("{} ({})", status.node.name, status.group.role)
                }
            };
            let asked: Vec<String> = view.statuses().map(describe).collect();
            return Err(Failure::of_kind(
                "no-leader",
                format!(
                    "nobody leads; answering: {}; a majority of the nodes must run and reach each other, and all of them once \
                 when a cluster is new",
                    asked.join(", ")
                ),
            ));
        };
        if output.is_json() {
            return output.json(&json!({
                "leader": leader.node.name,
                "member_id": leader.node.id,
                "client": leader.client_address,
                "peer": leader.peer_address,
                "term": leader.group.term,
                "commit_index": leader.group.commit_index,
            }));
        }
        output.line(format_args!(
            "{} leads in term {}, clients at {}",
            output.toned(&leader.node.name, Tone::Strong),
            leader.group.term,
            leader.client_address
        ))
    }
}

impl Quorum {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let view = ClusterView::gather(&Target::find(&common)?).await?;
        let quorum = view.quorum();
        if output.is_json() {
            output.json(&QuorumReport::of(&view, &quorum))?;
        } else if quorum.holds() && view.troubles().is_empty() {
            let spare = quorum.present.len() - quorum.needed;
            output.line(format_args!(
                "{} {}: {} ≥ {}, the quorum holds; {spare} more may fail.",
                output.toned("✓", Tone::Good),
                quorum.arithmetic(),
                quorum.present.len(),
                quorum.needed
            ))?;
        }
        view.refuse_trouble()?;
        if quorum.holds() {
            return Ok(());
        }
        Err(Failure::of_kind(
            "no-quorum",
            format!(
                "no quorum: {}: {} < {}; bring back {} of the missing nodes",
                quorum.arithmetic(),
                quorum.present.len(),
                quorum.needed,
                quorum.needed.saturating_sub(quorum.present.len())
            ),
        ))
    }
}
