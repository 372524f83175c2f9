//! The native protocol (docs/PROTOCOL.md): all requests of a client on one stream, many under way, and a write that is
//! sent again after a failure is applied once and gets the first answer.
//!
//! [`pending`] knows what is under way and what becomes of it, without any I/O; [`task`] owns the stream, and moves
//! from node to node as they fail and as the leader changes.

mod pending;
mod task;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ruvector_api::etcdserverpb as etcd;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::ClientError;
use crate::options::{ClientOptions, Protocol};
use crate::verdict::Effect;
use pending::Job;

/// How many requests may wait for the task to take them.
const JOBS_MAX: usize = 1024;

/// The way to the task that owns the stream. The task is started when it is first needed.
#[derive(Debug)]
pub(crate) struct Native {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// The protocol is not to be spoken, or the servers do not offer it.
    is_unsupported: AtomicBool,
}

impl Native {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let is_unsupported = AtomicBool::new(protocol == Protocol::Etcd);
        Self { jobs: Mutex::default(), is_unsupported }
    }

    /// Has a request done. `None` if the servers do not offer this protocol: it was not done then.
    pub(crate) async fn request(
        &self,
        connections: &[Connection],
        options: &ClientOptions,
        effect: Effect,
        request: Request,
    ) -> Result<Option<pb::NativeResponse>, ClientError> {
        if self.is_unsupported.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + options.request_timeout;
        let job = Job { request, effect, deadline, reply };
        if let Err((jobs, job)) = self.hand_in(connections, options, job) {
            // Boxed, as nearly all requests find room: theirs need not carry place for this.
            Box::pin(async move { jobs.send(job).await }).await.map_err(|_| ended())?;
        }
        match answer.await.unwrap_or_else(|_| Err(ended())) {
            Ok(response) => Ok(Some(response)),
            Err(ClientError::Unsupported { .. }) => {
                self.is_unsupported.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a job to the task if there is room for it; otherwise gives it back, with the way to the task.
    #[allow(clippy::result_large_err)] // Nearly never made, and moved once.
    fn hand_in(
        &self,
        connections: &[Connection],
        options: &ClientOptions,
        job: Job,
    ) -> Result<(), (mpsc::Sender<Job>, Job)> {
        let mut jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A task ends with the runtime that it was started on.
        let sender = match jobs.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => jobs.insert(sender),
            None => {
                let (sender, receiver) = mpsc::channel(JOBS_MAX);
                tokio::spawn(task::run(connections.to_vec(), options.clone(), receiver));
                jobs.insert(sender)
            }
        };
        sender.try_send(job).map_err(|error| (sender.clone(), error.into_inner()))
    }
}

fn ended() -> ClientError {
    ClientError::OutcomeUnknown { reason: "the client's task has ended".to_owned() }
}

/// The answer to a put.
pub(crate) fn put(response: pb::NativeResponse) -> Result<etcd::PutResponse, ClientError> {
    let header = header(&response);
    let Some(Response::Put(put)) = response.response else { return Err(other_answer()) };
    Ok(etcd::PutResponse { header, ..put })
}

/// The answer to a read.
pub(crate) fn range(response: pb::NativeResponse) -> Result<etcd::RangeResponse, ClientError> {
    let header = header(&response);
    let Some(Response::Range(range)) = response.response else { return Err(other_answer()) };
    Ok(etcd::RangeResponse { header, ..range })
}

/// The answer to a deletion.
pub(crate) fn delete(response: pb::NativeResponse) -> Result<etcd::DeleteRangeResponse, ClientError> {
    let header = header(&response);
    let Some(Response::DeleteRange(delete)) = response.response else { return Err(other_answer()) };
    Ok(etcd::DeleteRangeResponse { header, ..delete })
}

/// The answer to a transaction.
pub(crate) fn txn(response: pb::NativeResponse) -> Result<etcd::TxnResponse, ClientError> {
    let header = header(&response);
    let Some(Response::Txn(txn)) = response.response else { return Err(other_answer()) };
    Ok(etcd::TxnResponse { header, ..txn })
}

/// The answer to a compaction.
pub(crate) fn compaction(response: pb::NativeResponse) -> Result<(), ClientError> {
    let Some(Response::Compaction(_)) = response.response else { return Err(other_answer()) };
    Ok(())
}

/// The revision is told once for all answers, and goes where etcd's have it.
#[allow(clippy::unnecessary_wraps)] // As the answers hold it.
fn header(response: &pb::NativeResponse) -> Option<etcd::ResponseHeader> {
    Some(etcd::ResponseHeader { revision: response.revision, ..etcd::ResponseHeader::default() })
}

fn other_answer() -> ClientError {
    ClientError::Malformed { reason: "an answer to another request".to_owned() }
}
