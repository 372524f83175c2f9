//! Has the store keep as much history as this node is configured to keep, while this node leads.
//!
//! What is kept is the store's state and changes by a command. So nodes that are configured in different ways agree at any time, on
//! what the last of them wanted that led; and a change of the configuration is in force when a node leads that knows it.

use std::time::Duration;

use ruvector_node::Handle;
use ruvector_node::state_machine::kv::{Command, KvMachine, Retention};

/// How often it is looked who leads.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Goes on for as long as it is driven.
pub(crate) async fn keep(handle: Handle<KvMachine>, wanted: Retention) {
    let mut settled_in = None;
    loop {
        let term = handle.term();
        let leads = handle.leader() == Some(handle.node_id());
        if leads && settled_in != Some(term) && settle(&handle, wanted).await {
            settled_in = Some(term);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Sets what is wanted, if that is not what is kept already. Returns whether it is now.
async fn settle(handle: &Handle<KvMachine>, wanted: Retention) -> bool {
    let Ok(published) = handle.published().await else { return false };
    if published.view.retention() == wanted {
        return true;
    }
    // Without the version, which would have to be copied while it is held.
    drop(published);
    match handle.propose(Command::SetRetention(wanted).encode()).await {
        Ok(_) => {
            tracing::info!(?wanted, "history is kept as this node is configured, which leads");
            true
        }
        Err(error) => {
            tracing::debug!(%error, "can't set how much history is kept; trying again");
            false
        }
    }
}
