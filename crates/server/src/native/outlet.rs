//! Gathers answers into frames.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll};

use futures::Stream;
use ruvector_api::etcdserverpb as etcd;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_response::Response;
use ruvector_node::NodeId;
use ruvector_node::daemon::Answer;
use ruvector_node::state_machine::kv::{self, Outcome};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tonic::{Code, Status};

use super::error::failure;
use super::window::{Broken, REQUESTS_MAX, Ready};
use crate::admin;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use crate::service::context::Context;
use crate::wire::convert;

/// A frame that has so many answers gets no further ones.
const FRAME_RESPONSES_MAX: usize = 1024;
/// A frame that has so many bytes gets no further answer. (A single answer may be larger.)
const FRAME_BYTES_MAX: usize = 256 << 10;

/// The half of a stream that gives answers. Ends when the other half has ended and everything is answered.
pub(super) struct Outlet {
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    applied: UnboundedReceiver<Answer<kv::Response>>,
    ready: Receiver<Ready>,
    broken: Broken,
    gathered: Vec<Answer<kv::Response>>,
    /// The leader that the client was last told of.
    told_leader: Option<Option<NodeId>>,
}

impl Outlet {
    pub(super) fn new(
        caller: &Caller,
        metrics: &Arc<Metrics>,
        applied: UnboundedReceiver<Answer<kv::Response>>,
        ready: Receiver<Ready>,
        broken: Broken,
    ) -> Self {
        Self {
            context: Arc::clone(&caller.context),
            metrics: Arc::clone(metrics),
            applied,
            ready,
            broken,
            gathered: Vec::new(),
            told_leader: None,
        }
    }

    /// Where the client is, if it was not told, or of another leader.
    fn place_if_new(&mut self) -> Option<pb::Place> {
        let handle = &self.context.handle;
        let leader = handle.leader();
        if self.told_leader.replace(leader) == Some(leader) {
            return None;
        }
        let members = self.context.members();
        let leader = members.into_iter().find(|member| Some(member.id) == leader);
        Some(pb::Place {
            cluster_id: handle.cluster_id(),
            node_id: handle.node_id().0,
            node_name: handle.node_name().to_owned(),
            leader: leader.map(admin::member),
            requests_max: REQUESTS_MAX,
            frame_bytes_max: self.context.limits.message_bytes() as u64,
        })
    }

    fn response(&self, answer: Answer<kv::Response>) -> pb::NativeResponse {
        let Answer { number, result, hold: _ } = answer;
        match result {
            Ok(applied) => applied_response(number, applied.response),
            Err(error) => {
                self.context.counters.proposals_failed.inc();
                failure(number, &error.into())
            }
        }
    }

    fn count(&self, responses: &[pb::NativeResponse]) {
        let mut good = 0;
        for response in responses {
            match &response.response {
                Some(Response::Failure(failure)) => {
                    self.metrics.count(Method::Native, Code::from_i32(failure.code), 1);
                }
                Some(_) | None => good += 1,
            }
        }
        self.metrics.count(Method::Native, Code::Ok, good);
    }
}

impl Stream for Outlet {
    type Item = Result<pb::ServerFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut frame = pb::ServerFrame { responses: Vec::new(), place: this.place_if_new() };
        let mut bytes = 0;
        let mut gathered = std::mem::take(&mut this.gathered);
        let applied = this.applied.poll_recv_many(context, &mut gathered, FRAME_RESPONSES_MAX);
        for answer in gathered.drain(..) {
            frame.responses.push(this.response(answer));
        }
        this.gathered = gathered;
        let mut ready = Poll::Pending;
        while bytes < FRAME_BYTES_MAX && frame.responses.len() < FRAME_RESPONSES_MAX {
            ready = this.ready.poll_recv(context);
            let Poll::Ready(Some(more)) = ready else { break };
            bytes += more.bytes;
            frame.responses.extend(more.responses);
            ready = Poll::Pending;
        }
        this.count(&frame.responses);
        if !frame.responses.is_empty() || frame.place.is_some() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match (applied, ready) {
            (Poll::Ready(0), Poll::Ready(None)) => {
                let broken = this.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
                Poll::Ready(broken.map(Err))
            }
            _ => Poll::Pending,
        }
    }
}

/// The answer to a command that was applied.
pub(super) fn applied_response(number: u64, response: kv::Response) -> pb::NativeResponse {
    let revision = response.revision.0;
    match response.result {
        Ok(outcome) => pb::NativeResponse { number, revision, response: Some(outcome_response(outcome)) },
        Err(error) => failure(number, &error.into()),
    }
}

/// What a command did, without the header that etcd's answers have.
fn outcome_response(outcome: Outcome) -> Response {
    let header = etcd::ResponseHeader::default;
    match outcome {
        Outcome::Put(put) => {
            Response::Put(etcd::PutResponse { header: None, ..convert::put_response(&put, header()) })
        }
        Outcome::Delete(delete) => Response::DeleteRange(etcd::DeleteRangeResponse {
            header: None,
            ..convert::delete_response(&delete, header())
        }),
        Outcome::Txn(txn) => {
            Response::Txn(etcd::TxnResponse { header: None, ..convert::txn_response(&txn, header()) })
        }
        Outcome::Compact => Response::Compaction(etcd::CompactionResponse { header: None }),
        Outcome::SessionOpened(session) => {
            Response::OpenSession(pb::OpenSessionResponse { session: session.0 })
        }
        // Nothing that this protocol takes has such an outcome.
        Outcome::LeaseGrant { .. }
        | Outcome::LeaseRevoke
        | Outcome::LeaseRenew(_)
        | Outcome::RetentionSet => {
            tracing::error!(?outcome, "the store answered another command than it was given");
            Response::Failure(pb::NativeFailure {
                code: Code::Internal.into(),
                message: "the store did not answer the command".to_owned(),
            })
        }
    }
}
