//! Sending snapshots to peers: a file in chunks, each acknowledged, a few under way at a time.
//!
//! A receiver that had all of a snapshot and wants it again may have found it damaged. Then the sender reads its own file, beside
//! the replica, before it sends anything of it again.

pub(in crate::replica) mod state;

use ruvector_protocol::{Input, LogPosition, NodeId, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_transport::{ReplicaMessage, SnapshotChunk, SnapshotChunkResponse};

use crate::replica::pace::Pace;
use crate::replica::{Output, Replica, ReplicaError, SnapshotJob, Verdict};
use state::{Outgoing, Sender};

/// After how many stalls in a row a transfer is given up.
const STALLS_MAX: u32 = 10;
/// For how many times the patience of a transfer a snapshot that was read and found to be well is not read again.
const CLEARED_FOR_PATIENCES: u64 = 100;

impl<M: StateMachine> Replica<M> {
    /// The core found a follower to be behind the log. Answers at once if there is no snapshot to send yet.
    pub(in crate::replica) fn begin_transfer(
        &mut self,
        now: Timestamp,
        to: NodeId,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<Option<Input>, ReplicaError> {
        let Some(info) = self.snapshots.newest_info().cloned() else {
            self.snapshot_for_peer(outputs);
            return Ok(Some(Input::SnapshotSent { to, position: None }));
        };
        tracing::info!("sending snapshot {} to {:x}", info.name, to.0);
        let pace = Pace::new(now, self.journal.extent().entry_bytes);
        let is_doubted = self.sender.doubts.reading.as_ref() == Some(&info.name);
        let transfer =
            Outgoing { info, acknowledged: 0, sent: 0, progress_at: now, stalls: 0, pace, is_doubted };
        self.sender.outgoing.insert(to, transfer);
        self.send_chunks(now, to, outputs)?;
        Ok(None)
    }

    fn send_chunks(
        &mut self,
        now: Timestamp,
        to: NodeId,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let (term, chunk_bytes) = (self.raft.term(), self.sender.chunk_bytes);
        let transfer = self.sender.outgoing.get_mut(&to).filter(|transfer| !transfer.is_doubted);
        let Some(transfer) = transfer else { return Ok(()) };
        let total_bytes = transfer.info.file_bytes;
        let window_end = transfer.acknowledged + transfer.pace.window(now) * chunk_bytes as u64;
        let mut chunks = Vec::new();
        while transfer.sent < total_bytes.min(window_end) {
            let offset = transfer.sent;
            let data = self.store.read_raw(&transfer.info.name, offset, chunk_bytes)?;
            assert!(!data.is_empty(), "snapshot {} ends before {total_bytes}", transfer.info.name);
            transfer.sent += data.len() as u64;
            transfer.pace.sent(now);
            let meta = transfer.info.meta.clone();
            chunks.push(SnapshotChunk { term, meta, total_bytes, offset, data });
        }
        transfer.assert_in_order();
        for chunk in chunks {
            outputs.push(self.say(to, ReplicaMessage::SnapshotChunk(chunk)));
        }
        Ok(())
    }

    pub(in crate::replica) fn chunk_answered(
        &mut self,
        now: Timestamp,
        from: NodeId,
        response: &SnapshotChunkResponse,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let Some(transfer) = self.sender.outgoing.get_mut(&from) else { return Ok(()) };
        if transfer.info.meta.position != response.position {
            return Ok(());
        }
        if response.next_offset >= transfer.info.file_bytes {
            return self.end_transfer(now, from, Some(response.position), outputs);
        }
        if transfer.is_doubted {
            return Ok(());
        }
        if response.next_offset == 0 && transfer.acknowledged > 0 {
            // The receiver lost what it had, or had it all and found it damaged.
            let had_all = transfer.sent == transfer.info.file_bytes;
            transfer.acknowledged = 0;
            transfer.sent = 0;
            transfer.stalls += 1;
            if had_all {
                self.doubt(now, from, outputs);
            }
        }
        let Some(transfer) = self.sender.outgoing.get_mut(&from) else { return Ok(()) };
        if response.next_offset > transfer.acknowledged {
            transfer.acknowledged = response.next_offset;
            transfer.sent = transfer.sent.max(response.next_offset);
            transfer.progress_at = now;
            transfer.stalls = 0;
            transfer.pace.answered(now, self.sender.chunk_bytes as u64, self.journal.extent().entry_bytes);
        }
        self.send_chunks(now, from, outputs)
    }

    /// Has the snapshot read that is being sent to a peer, unless it was found to be well a short time ago.
    fn doubt(&mut self, now: Timestamp, to: NodeId, outputs: &mut Vec<Output<M>>) {
        let Sender { outgoing, doubts, patience_us, .. } = &mut self.sender;
        let Some(transfer) = outgoing.get_mut(&to) else { return };
        let name = &transfer.info.name;
        let cleared_for_us = *patience_us * CLEARED_FOR_PATIENCES;
        let is_cleared = doubts
            .cleared
            .as_ref()
            .is_some_and(|(cleared, at)| cleared == name && now.micros_since(*at) < cleared_for_us);
        match &doubts.reading {
            // One at a time.
            Some(reading) => transfer.is_doubted = reading == name,
            None if is_cleared => {}
            None => {
                doubts.reading = Some(name.clone());
                transfer.is_doubted = true;
                let job = SnapshotJob::Verify { name: name.clone(), store: self.store.clone() };
                outputs.push(self.run(job));
            }
        }
    }

    /// A snapshot was read. If it is damaged, has a new one take its place, and ends its transfers to whomever; otherwise they go on.
    /// If it could not be read, it is doubted again when a peer complains again.
    pub(in crate::replica) fn snapshot_verified(
        &mut self,
        now: Timestamp,
        name: &str,
        verdict: Verdict,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        self.sender.doubts.reading = None;
        let receivers = self.sender.receivers(name);
        let is_newest = self.snapshots.newest_info().is_some_and(|info| info.name == name);
        let damage = match verdict {
            Verdict::Damaged(damage) => damage,
            Verdict::Sound => {
                self.sender.doubts.cleared = Some((name.to_owned(), now));
                return self.send_undoubted(now, receivers, outputs);
            }
            Verdict::Unknown => return self.send_undoubted(now, receivers, outputs),
        };
        // Otherwise it has been removed by now, and could not be read for that.
        if is_newest || !receivers.is_empty() {
            tracing::error!("snapshot {name} is damaged and is taken anew: {damage}");
            self.forget_snapshot(name)?;
            for receiver in receivers {
                self.end_transfer(now, receiver, None, outputs)?;
            }
            self.snapshot_now(outputs);
        }
        Ok(())
    }

    /// Goes on with what waited until a snapshot was read.
    fn send_undoubted(
        &mut self,
        now: Timestamp,
        receivers: Vec<NodeId>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        for to in receivers {
            if let Some(transfer) = self.sender.outgoing.get_mut(&to)
                && std::mem::take(&mut transfer.is_doubted)
            {
                transfer.progress_at = now;
                self.send_chunks(now, to, outputs)?;
            }
        }
        Ok(())
    }

    fn end_transfer(
        &mut self,
        now: Timestamp,
        to: NodeId,
        position: Option<LogPosition>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if self.sender.outgoing.remove(&to).is_none() {
            return Ok(());
        }
        self.step(now, Input::SnapshotSent { to, position }, outputs)
    }

    pub(in crate::replica) fn transfer_peer_lost(
        &mut self,
        now: Timestamp,
        peer: NodeId,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        self.end_transfer(now, peer, None, outputs)
    }

    /// Sends on after a rest, and again what was not acknowledged for long; gives up in the end.
    pub(in crate::replica) fn wake_transfers(
        &mut self,
        now: Timestamp,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let patience_us = self.sender.patience_us;
        let stalled: Vec<_> = self
            .sender
            .outgoing
            .iter()
            .filter(|(_, transfer)| {
                !transfer.is_doubted && transfer.progress_at.after_micros(patience_us) <= now
            })
            .map(|(to, _)| *to)
            .collect();
        for to in stalled {
            let Some(transfer) = self.sender.outgoing.get_mut(&to) else { continue };
            transfer.stalls += 1;
            transfer.progress_at = now;
            transfer.sent = transfer.acknowledged;
            if transfer.stalls > STALLS_MAX {
                tracing::warn!("gave up sending a snapshot to {:x}", to.0);
                self.end_transfer(now, to, None, outputs)?;
            } else {
                self.send_chunks(now, to, outputs)?;
            }
        }
        self.end_rests(now, outputs)
    }

    fn end_rests(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        let is_over = |transfer: &Outgoing| transfer.pace.deadline().is_some_and(|until| until <= now);
        let rested = self.sender.outgoing.iter().filter(|(_, transfer)| is_over(transfer));
        for to in rested.map(|(to, _)| *to).collect::<Vec<_>>() {
            self.send_chunks(now, to, outputs)?;
        }
        Ok(())
    }
}
