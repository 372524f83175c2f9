//! Asks all nodes at once.

use std::future::Future;
use std::time::Duration;

use ruvector_client::{ClientError, Endpoint, NodeClient};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long any node is waited for while none has answered.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the others are waited for when one has answered; one that is stuck must not hold up what there is to show.
const GRACE: Duration = Duration::from_secs(1);

/// What one node said.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// Where it was asked.
    pub(crate) endpoint: Endpoint,
    /// What it said.
    pub(crate) result: std::result::Result<T, ClientError>,
}

/// Asks every node the same at once, and waits for all. The answers come in the nodes' order.
pub(crate) async fn ask_all<T, F>(
    nodes: impl IntoIterator<Item = NodeClient>,
    question: impl Fn(NodeClient) -> F,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    F: Future<Output = std::result::Result<T, ClientError>> + Send + 'static,
{
    let asked: Vec<_> =
        nodes.into_iter().map(|node| (node.endpoint().clone(), tokio::spawn(question(node)))).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for (endpoint, task) in asked {
        let result = task.await.expect("a question neither panics nor is aborted");
        answers.push(Answer { endpoint, result });
    }
    answers
}

/// Like [`ask_all`], for what a node answers at once if it does: when one has, the others get [`GRACE`] more, so that one that stands still
/// holds up nobody.
pub(crate) async fn ask_all_briefly<T, F>(
    nodes: impl IntoIterator<Item = NodeClient>,
    question: impl Fn(NodeClient) -> F,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    F: Future<Output = std::result::Result<T, ClientError>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    let mut answers = Vec::new();
    for (position, node) in nodes.into_iter().enumerate() {
        let endpoint = node.endpoint().clone();
        let reason = format!("{endpoint} is silent while others answer");
        answers.push(Answer { endpoint, result: Err(ClientError::TimedOut { reason }) });
        let asking = question(node);
        asked.spawn(async move { (position, asking.await) });
    }
    let mut until = Instant::now() + SILENCE_MAX;
    while let Ok(Some(answered)) = timeout_at(until, asked.join_next()).await {
        let (position, result) = answered.expect("a question neither panics nor is aborted");
        if result.is_ok() {
            until = until.min(Instant::now() + GRACE);
        }
        answers[position].result = result;
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_is_silent_holds_up_nobody_and_is_named() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address").to_string();
        let options = ruvector_client::ClientOptions::default();
        let client =
            ruvector_client::Client::new([address.as_str(), "127.0.0.2:1"], options).expect("endpoints");
        let question = |node: NodeClient| async move {
            if node.endpoint().as_str().ends_with(":1") { Ok(1) } else { std::future::pending().await }
        };
        let answers = ask_all_briefly(client.nodes(), question).await;
        let [one, other] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(other.result, Ok(1));
        let error = one.result.as_ref().expect_err("it said nothing").to_string();
        assert!(error.contains(&format!("{address} is silent while others answer")), "{error}");
    }
}
