//! Which snapshots go to peers, and how far they are.

use std::collections::BTreeMap;

use ruvector_protocol::{NodeId, Timestamp};
use ruvector_storage::SnapshotInfo;

use crate::replica::pace::Pace;

/// The snapshots that this replica sends, one to each peer at most.
///
/// Invariants:
/// - each goes to a peer;
/// - `acknowledged <= sent <= info.file_bytes`;
/// - one that is doubted is of the snapshot that is being read, so the end of the reading sets it free.
#[derive(Debug)]
pub(in crate::replica) struct Sender {
    pub(super) outgoing: BTreeMap<NodeId, Outgoing>,
    pub(super) doubts: Doubts,
    pub(super) chunk_bytes: usize,
    /// After this long without progress the last chunks are sent again, in microseconds.
    pub(super) patience_us: u64,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) info: SnapshotInfo,
    /// Everything before this was acknowledged.
    pub(super) acknowledged: u64,
    /// Everything before this was sent.
    pub(super) sent: u64,
    pub(super) progress_at: Timestamp,
    /// Times in a row that patience ran out.
    pub(super) stalls: u32,
    pub(super) pace: Pace,
    /// Nothing is sent until the file was read here.
    pub(super) is_doubted: bool,
}

/// Which of this replica's snapshots a receiver could not use.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// The one that is being read.
    pub(super) reading: Option<String>,
    /// The one that was read last and found to be well, and when.
    pub(super) cleared: Option<(String, Timestamp)>,
}

impl Sender {
    pub(in crate::replica) fn new(chunk_bytes: usize, patience_us: u64) -> Self {
        Self { outgoing: BTreeMap::new(), doubts: Doubts::default(), chunk_bytes, patience_us }
    }

    pub(in crate::replica) fn deadline(&self) -> Option<Timestamp> {
        let patience_ends = |transfer: &Outgoing| transfer.progress_at.after_micros(self.patience_us);
        let transfers = self.outgoing.values().filter(|transfer| !transfer.is_doubted);
        transfers
            .flat_map(|transfer| [Some(patience_ends(transfer)), transfer.pace.deadline()])
            .flatten()
            .min()
    }

    /// Another leader, or this one in a later term, decides anew who needs which snapshot.
    pub(in crate::replica) fn end_all_outgoing(&mut self) {
        self.outgoing.clear();
    }

    /// Sees that what is said of the type holds.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(in crate::replica) fn check_invariants(&self, peers: &[NodeId]) {
        for (to, transfer) in &self.outgoing {
            assert!(peers.contains(to), "a snapshot is sent to {to:?}, which is no peer");
            transfer.assert_in_order();
            let (name, reading) = (&transfer.info.name, &self.doubts.reading);
            let is_read = reading.as_ref() == Some(name);
            assert!(!transfer.is_doubted || is_read, "{name} is doubted while {reading:?} is read");
        }
    }

    pub(in crate::replica) fn is_sending(&self, name: &str) -> bool {
        !self.receivers(name).is_empty()
    }

    /// To whom a snapshot is being sent.
    pub(super) fn receivers(&self, name: &str) -> Vec<NodeId> {
        let sends = |(_, transfer): &(&NodeId, &Outgoing)| transfer.info.name == name;
        self.outgoing.iter().filter(sends).map(|(to, _)| *to).collect()
    }
}

impl Outgoing {
    pub(super) fn assert_in_order(&self) {
        let Self { acknowledged, sent, info: SnapshotInfo { name, file_bytes, .. }, .. } = self;
        assert!(acknowledged <= sent, "of {name}, {acknowledged} bytes were acknowledged and {sent} sent");
        assert!(sent <= file_bytes, "of {name}, {sent} bytes were sent and it has {file_bytes}");
    }
}
