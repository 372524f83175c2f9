//! Writing a snapshot file.

use std::io;

use bytes::BufMut;

use super::format::{CHUNK_BYTES, CHUNK_HEADER_BYTES, Header, Trailer, chunk_checksum};
use super::info::SnapshotInfo;
use super::unfinished::{Reservation, TemporaryFile};
use crate::error::StorageError;

/// Writes a snapshot's contents; buffers, so small writes are fine. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    file: TemporaryFile,
    reservation: Reservation,
    trailer: Trailer,
    /// A chunk's header, to be filled in, and its contents so far.
    chunk: Vec<u8>,
    /// A write failed: the file has a hole, and must not be finished.
    failed: bool,
}

impl SnapshotWriter {
    pub(super) fn begin(
        mut file: TemporaryFile,
        reservation: Reservation,
        header: Header,
    ) -> Result<Self, StorageError> {
        let (bytes, chain) = header.encode();
        file.append(&bytes)?;
        let trailer = Trailer { chunk_count: 0, contents_bytes: 0, chain };
        Ok(Self { file, reservation, trailer, chunk: Vec::new(), failed: false })
    }

    /// Completes the file: trailer, sync, rename, directory sync.
    ///
    /// # Errors
    /// If the disk refuses, or refused before.
    pub fn finish(mut self) -> Result<SnapshotInfo, StorageError> {
        if self.failed {
            let source = io::Error::other("an earlier write failed");
            return Err(StorageError::io("finishing", &self.file.path)(source));
        }
        self.write_chunk()?;
        self.file.append(&self.trailer.encode())?;
        self.file.publish(&self.reservation.name)
    }

    fn write_chunk(&mut self) -> Result<(), StorageError> {
        let Some(contents) = self.chunk.get(CHUNK_HEADER_BYTES..).filter(|contents| !contents.is_empty())
        else {
            return Ok(());
        };
        let length = contents.len();
        let checksum = chunk_checksum(self.trailer.chain, contents);
        let mut header = &mut self.chunk[..CHUNK_HEADER_BYTES];
        header.put_u32_le(u32::try_from(length).expect("a chunk is small"));
        header.put_u32_le(checksum);
        self.file.append(&self.chunk)?;
        let chunk_count = self.trailer.chunk_count.checked_add(1).expect("2^32 chunks are 1 PiB");
        let contents_bytes = self.trailer.contents_bytes + length as u64;
        self.trailer = Trailer { chunk_count, contents_bytes, chain: checksum };
        self.chunk.clear();
        Ok(())
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk.resize(CHUNK_HEADER_BYTES, 0);
        }
        let room = CHUNK_HEADER_BYTES + CHUNK_BYTES - self.chunk.len();
        let taken = room.min(bytes.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.write_chunk().inspect_err(|_| self.failed = true).map_err(into_io)?;
        }
        Ok(taken)
    }

    /// Does nothing: only whole chunks are written, and nothing is durable before
    /// [`finish`](SnapshotWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn into_io(error: StorageError) -> io::Error {
    match error {
        StorageError::Io { source, .. } => source,
        other @ (StorageError::Corrupt { .. }
        | StorageError::Foreign { .. }
        | StorageError::RolledBack { .. }
        | StorageError::Locked(_)
        | StorageError::Mismatch(_)) => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
