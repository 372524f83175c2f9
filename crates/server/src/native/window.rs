//! What is between the two halves of a stream: how much may be under way, and what the one hands to the other.

use std::sync::{Arc, Mutex};

use ruvector_api::ruvector::v1 as pb;
use ruvector_node::daemon::{Hold, Permit};
use tonic::Status;

/// How many bytes of requests may be under way on one stream, each counted with [`REQUEST_BYTES`] beside its own.
pub(super) const WINDOW_BYTES: u32 = 8 << 20;
/// What a request takes in memory beside its bytes, until it is answered.
pub(super) const REQUEST_BYTES: u32 = 1 << 10;
/// What a client is told: so many small requests fit into the window.
pub(super) const REQUESTS_MAX: u32 = WINDOW_BYTES / REQUEST_BYTES / 2;

/// Why no more frames are read, if the client did not end the stream: told once, when all before is answered.
pub(super) type Broken = Arc<Mutex<Option<Status>>>;

/// Answers that are not commands', to requests of one frame.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) responses: Vec<pb::NativeResponse>,
    /// Of all of them, encoded.
    pub(super) bytes: usize,
    /// The room that the requests' frame takes in the window.
    #[allow(dead_code)] // Let go when dropped.
    pub(super) hold: Arc<Hold>,
    /// What the answers take.
    #[allow(dead_code)] // Let go when dropped.
    pub(super) permit: Option<Permit>,
}

/// How many answers are handed over at once, and how many bytes of them, but for one that is larger.
pub(super) const READY_RESPONSES_MAX: usize = 32;
pub(super) const READY_BYTES_MAX: usize = 64 << 10;
