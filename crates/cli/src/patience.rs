//! How long a verb goes on waiting for an answer that can't come.
//!
//! Without a quorum a node answers nothing until somebody's time is up, because one may come back any moment. A person wants to know sooner what
//! is the matter, so beside a request that takes long the nodes are asked how they do.

use std::time::Duration;

use ruvector_client::{ClientError, ReadLevel};
use tokio::time::sleep;

use crate::failure::{Failure, Result};
use crate::nodes::ClusterView;
use crate::target::Target;

/// How long a request may take before the nodes are asked how they do: longer than an election.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// So many looks in a row must find no quorum: an election may be under way, or a node be starting.
const LOOKS: u32 = 3;

/// Waits for a write, and gives up when there is no quorum.
pub(crate) async fn write<T>(
    target: &Target,
    call: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    let advice = "; if the write has reached a node it may yet be done: read before writing again";
    unless_no_quorum(target, call, advice).await
}

/// Waits for a read, and gives up when there is no quorum.
pub(crate) async fn read<T>(
    target: &Target,
    call: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    unless_no_quorum(target, call, "").await
}

/// The same, unless it is a read that needs no quorum.
pub(crate) async fn read_at<T>(
    target: &Target,
    level: ReadLevel,
    call: impl Future<Output = std::result::Result<T, ClientError>>,
) -> Result<T> {
    match level {
        ReadLevel::Stale(_) => Ok(call.await?),
        ReadLevel::Strong | ReadLevel::Lease => read(target, call).await,
    }
}

async fn unless_no_quorum<T>(
    target: &Target,
    call: impl Future<Output = std::result::Result<T, ClientError>>,
    advice: &str,
) -> Result<T> {
    let no_quorum = |text: String| Failure::of_kind("no-quorum", format!("{text}{advice}"));
    let error = tokio::select! {
        biased;
        answer = call => match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        },
        found = watch_for_quorum(target) => return Err(no_quorum(found)),
    };
    let may_be_for_want_of_a_quorum = match error {
        ClientError::Unreachable { .. }
        | ClientError::NoLeader { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::TimedOut { .. } => true,
        ClientError::InvalidEndpoint { .. }
        | ClientError::NoEndpoints
        | ClientError::Busy { .. }
        | ClientError::Compacted { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Refused { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Malformed { .. } => false,
    };
    if may_be_for_want_of_a_quorum && let Some(found) = look(target).await {
        return Err(no_quorum(found));
    }
    Err(error.into())
}

/// Ends when there is no quorum, in words; never while there is one, or nobody who could tell.
async fn watch_for_quorum(target: &Target) -> String {
    sleep(FIRST_LOOK).await;
    let mut found_none = 0;
    loop {
        match look(target).await {
            Some(text) if found_none + 1 >= LOOKS => return text,
            Some(_) => found_none += 1,
            None => found_none = 0,
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn look(target: &Target) -> Option<String> {
    ClusterView::gather(target).await.ok()?.missing_quorum()
}
