//! How the driver's answers reach those who wait for them.
//!
//! Waking a task of an async runtime from another thread costs a system call, for each task. So the driver hands over what
//! one turn answered all at once, to a task that lives in the runtime of those who wait: there, waking them is cheap, and
//! they run one after the other before anything of theirs goes to the network.

use std::sync::{Arc, OnceLock};

use ruvector_state_machine::StateMachine;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::outcome::{Applied, NodeError, ReadResult};
use crate::publication::Published;

/// Where an answer goes. A caller that no longer waits has dropped its end, which is fine.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, NodeError>>;

/// An answer with its way.
#[derive(Debug)]
pub(crate) enum Answered<M: StateMachine> {
    Proposal(Reply<Applied<M::Response>>, Result<Applied<M::Response>, NodeError>),
    Read(Reply<ReadResult<M::View>>, Result<ReadResult<M::View>, NodeError>),
    Version(Reply<Arc<Published<M::View>>>, Result<Arc<Published<M::View>>, NodeError>),
}

impl<M: StateMachine> Answered<M> {
    fn deliver(self) {
        match self {
            Self::Proposal(reply, result) => drop(reply.send(result)),
            Self::Read(reply, result) => drop(reply.send(result)),
            Self::Version(reply, result) => drop(reply.send(result)),
        }
    }
}

/// Takes answers to the task that delivers them, if there is one; otherwise delivers them itself.
///
/// Not bounded: every answer belongs to a request that waits, and those are bounded.
#[derive(Debug)]
pub(crate) struct Courier<M: StateMachine> {
    task: OnceLock<UnboundedSender<Vec<Answered<M>>>>,
}

impl<M: StateMachine> Default for Courier<M> {
    fn default() -> Self {
        Self { task: OnceLock::new() }
    }
}

impl<M: StateMachine> Courier<M> {
    /// Hands over what was answered, in order.
    pub(crate) fn hand_over(&self, answered: &mut Vec<Answered<M>>) {
        let undelivered = match (answered.len(), self.task.get()) {
            (0, _) => return,
            // Alone it costs the same either way, and this one is sooner.
            (1, _) | (_, None) => std::mem::take(answered),
            (_, Some(task)) => match task.send(std::mem::take(answered)) {
                Ok(()) => return,
                // The task has ended.
                Err(returned) => returned.0,
            },
        };
        undelivered.into_iter().for_each(Answered::deliver);
    }

    /// The end where a task takes what is handed over; `None` if there is such a task already.
    pub(crate) fn take_over(&self) -> Option<UnboundedReceiver<Vec<Answered<M>>>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.task.set(sender).ok().map(|()| receiver)
    }
}

/// Delivers what is handed over, until driver and handles are gone.
pub(crate) async fn deliver<M: StateMachine>(mut answers: UnboundedReceiver<Vec<Answered<M>>>) {
    while let Some(answered) = answers.recv().await {
        answered.into_iter().for_each(Answered::deliver);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_state_machine::kv::KvMachine;

    use super::*;

    type Waiting = Vec<oneshot::Receiver<Result<Applied<ruvector_state_machine::kv::Response>, NodeError>>>;

    fn refusals(count: usize) -> (Waiting, Vec<Answered<KvMachine>>) {
        let refusal = || {
            let (reply, waiting) = oneshot::channel();
            (waiting, Answered::Proposal(reply, Err(NodeError::TooBusy)))
        };
        (0..count).map(|_| refusal()).unzip()
    }

    fn arrived(waiting: &mut Waiting) -> usize {
        waiting.iter_mut().map(oneshot::Receiver::try_recv).filter(Result::is_ok).count()
    }

    #[test]
    fn without_a_task_every_answer_is_delivered_at_once() {
        let courier = Courier::default();
        for count in [0, 1, 7] {
            let (mut waiting, mut answered) = refusals(count);
            courier.hand_over(&mut answered);
            assert!(answered.is_empty());
            assert_eq!(arrived(&mut waiting), count);
        }
    }

    #[tokio::test]
    async fn a_task_delivers_what_is_handed_over_and_when_it_is_gone_nothing_is_lost() {
        let courier = Courier::default();
        let task = tokio::spawn(deliver(courier.take_over().unwrap()));
        assert!(courier.take_over().is_none(), "there is one already");
        let (waiting, mut answered) = refusals(7);
        courier.hand_over(&mut answered);
        for waiting in waiting {
            assert!(matches!(waiting.await.unwrap(), Err(NodeError::TooBusy)));
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let (mut waiting, mut answered) = refusals(7);
        courier.hand_over(&mut answered);
        assert_eq!(arrived(&mut waiting), 7);
    }
}
