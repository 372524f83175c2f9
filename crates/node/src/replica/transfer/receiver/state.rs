//! Which snapshot comes from a peer, and how far it is.

use ruvector_protocol::{NodeId, SnapshotMeta};
use ruvector_storage::SnapshotReceiver;

/// The snapshot that this replica receives, if there is one.
///
/// Invariant: it has the newest number, and no more bytes than were announced.
#[derive(Debug, Default)]
pub(in crate::replica) struct Receiver {
    pub(super) incoming: Option<Incoming>,
    /// How many there have been.
    pub(super) incoming_count: u64,
}

#[derive(Debug)]
pub(super) struct Incoming {
    /// Which of all that came it is.
    pub(super) number: u64,
    pub(super) from: NodeId,
    pub(super) meta: SnapshotMeta,
    pub(super) total_bytes: u64,
    /// `None` while the complete file is being verified.
    pub(super) receiver: Option<SnapshotReceiver>,
}

impl Receiver {
    /// Sees that what is said of the type holds.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(in crate::replica) fn check_invariants(&self) {
        if let Some(Incoming { number, receiver, total_bytes, .. }) = &self.incoming {
            assert_eq!(*number, self.incoming_count, "the number of the snapshot that comes");
            let taken = receiver.as_ref().map_or(0, SnapshotReceiver::next_offset);
            assert!(taken <= *total_bytes, "{taken} bytes came of {total_bytes}");
        }
    }
}
