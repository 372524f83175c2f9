//! Receiving a snapshot from the leader: chunk by chunk into a file, which is verified beside the replica before it is
//! acknowledged.

pub(in crate::replica) mod state;

use ruvector_protocol::{Input, NodeId, SnapshotMeta, Term, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotInfo, StorageError};
use ruvector_transport::{ReplicaMessage, SnapshotChunk, SnapshotChunkResponse};

use crate::replica::{Output, Replica, ReplicaError, SnapshotJob};
use state::Incoming;

impl<M: StateMachine> Replica<M> {
    /// A piece of a snapshot came. Only this term's leader, or a later one, may send them.
    pub(in crate::replica) fn receive_chunk(
        &mut self,
        from: NodeId,
        chunk: SnapshotChunk,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let term = chunk.term;
        let is_from_another = self.raft.leader().is_some_and(|leader| leader != from);
        if term < self.raft.term() || (term == self.raft.term() && is_from_another) {
            return Ok(());
        }
        let position = chunk.meta.position;
        let next_offset = if position.index <= self.applied.index {
            chunk.total_bytes
        } else {
            self.take_chunk(from, chunk, outputs)?
        };
        let response = SnapshotChunkResponse { position, next_offset };
        outputs.push(self.say(from, ReplicaMessage::SnapshotChunkResponse(response)));
        Ok(())
    }

    /// Writes a chunk if it is the one wanted; answers with the next byte wanted.
    fn take_chunk(
        &mut self,
        from: NodeId,
        chunk: SnapshotChunk,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<u64, ReplicaError> {
        let continues = self.receiver.incoming.as_ref().is_some_and(|incoming| {
            incoming.from == from && incoming.meta == chunk.meta && incoming.total_bytes == chunk.total_bytes
        });
        if !continues {
            if chunk.offset != 0 || chunk.data.is_empty() {
                return Ok(0);
            }
            let receiver = self.store.receive(self.config.group, &chunk.meta, chunk.total_bytes)?;
            self.receiver.incoming_count += 1;
            self.receiver.incoming = Some(Incoming {
                number: self.receiver.incoming_count,
                from,
                meta: chunk.meta.clone(),
                total_bytes: chunk.total_bytes,
                receiver: Some(receiver),
            });
        }
        let Some(incoming) = &mut self.receiver.incoming else { return Ok(0) };
        let Some(receiver) = &mut incoming.receiver else {
            // All of it is here and being verified: the core acknowledges it when it is installed.
            return Ok(chunk.total_bytes.saturating_sub(1));
        };
        let fits = chunk.data.len() as u64 <= chunk.total_bytes.saturating_sub(chunk.offset);
        if chunk.offset == receiver.next_offset() && fits {
            receiver.write(&chunk.data)?;
        }
        let next_offset = receiver.next_offset();
        if next_offset == chunk.total_bytes
            && let Some(receiver) = incoming.receiver.take()
        {
            let (term, meta, transfer) = (chunk.term, chunk.meta, incoming.number);
            let group = self.config.group;
            let job = SnapshotJob::Complete { group, from, term, meta, transfer, receiver };
            outputs.push(Output::Run { group, job });
            return Ok(chunk.total_bytes.saturating_sub(1));
        }
        Ok(next_offset)
    }

    /// All of a transfer was verified, or could not be: another may come. One that came meanwhile stays.
    pub(in crate::replica) fn transfer_ended(&mut self, transfer: u64) {
        self.receiver.incoming.take_if(|incoming| incoming.number == transfer);
    }

    /// A received file was verified, or was found not usable.
    pub(in crate::replica) fn transfer_completed(
        &mut self,
        now: Timestamp,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
        result: Result<SnapshotInfo, StorageError>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let position = meta.position;
        let next_offset = match result {
            Ok(info) => {
                tracing::info!("received snapshot {} from {:x}", info.name, from.0);
                self.step(now, Input::SnapshotReceived { from, term, meta }, outputs)?;
                info.file_bytes
            }
            Err(error) => {
                tracing::warn!("a snapshot from {:x} was not usable: {error}", from.0);
                0
            }
        };
        let response = SnapshotChunkResponse { position, next_offset };
        outputs.push(self.say(from, ReplicaMessage::SnapshotChunkResponse(response)));
        Ok(())
    }
}
