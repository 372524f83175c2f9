//! Frames answered without a node: for the fuzz targets.

use bytes::Bytes;
use ruvector_api::ruvector::v1 as pb;
use ruvector_node::state_machine::kv::{KvView, Response, Revision, SessionClient};

use super::error::failure;
use super::intake::{Sorted, read_response, weight};
use super::outlet::applied_response;
use super::window::WINDOW_BYTES;
use crate::config::Limits;
use crate::service::principal::Principal;
use crate::service::sessions::SessionWrites;

/// The answers to a frame, by how its requests are done; within each list in the order of the requests.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// Of what was committed and applied.
    pub writes: Vec<Written>,
    /// Of what was read.
    pub reads: Vec<pb::NativeResponse>,
    /// Of what was not asked for as it must be.
    pub refused: Vec<pb::NativeResponse>,
}

/// The answer to a write, and what applying it did to the store.
#[derive(Debug)]
pub struct Written {
    /// The answer.
    pub response: pb::NativeResponse,
    /// The store's revision before.
    pub before: Revision,
    /// And after.
    pub after: Revision,
}

/// Has the requests of a frame done, as the two halves of a stream do it between them. `apply` applies a command and
/// tells the version that it makes; `view` is the version before.
pub(crate) fn exchange(
    frame: pb::ClientFrame,
    mut apply: impl FnMut(Bytes) -> (KvView, Response),
    mut view: KvView,
) -> Exchanged {
    let weight = weight(&frame);
    assert!((1..=WINDOW_BYTES).contains(&weight), "a frame weighs {weight}: it would never find room");
    let writes = SessionWrites::new(Principal::Everybody, SessionClient::default());
    let sorted = Sorted::of(frame, writes, Limits::default().txn_operations);
    let mut exchanged = Exchanged::default();
    for (number, command) in sorted.writes.into_commands() {
        let before = view.revision();
        let applied;
        (view, applied) = apply(command);
        let response = applied_response(number, applied);
        exchanged.writes.push(Written { response, before, after: view.revision() });
    }
    for (number, read) in sorted.linearizable.iter().chain(&sorted.serializable) {
        exchanged.reads.push(match read.answer(&view, &Principal::Everybody) {
            Ok(answered) => read_response(*number, answered, view.revision()),
            Err(error) => failure(*number, &error),
        });
    }
    for (number, error) in sorted.refused {
        exchanged.refused.push(failure(number, &error));
    }
    exchanged
}
