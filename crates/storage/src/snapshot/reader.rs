//! Reading a snapshot file.

use std::io;

use bytes::Buf;

use super::format::{
    self, CHUNK_BYTES, CHUNK_HEADER_BYTES, Header, TRAILER_BYTES, Trailer, chunk_checksum, corrupt,
};
use super::info::SnapshotInfo;
use crate::disk::DiskFile;
use crate::error::StorageError;

/// Reads a snapshot's contents.
///
/// Damage is an [`io::Error`] of kind `InvalidData` with the [`StorageError`] inside; the end is reported only
/// after the trailer has confirmed that nothing is missing.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: String,
    info: SnapshotInfo,
    trailer: Trailer,
    /// Where the next chunk begins.
    offset: u64,
    /// What was read so far, as a trailer would tell it.
    passed: Trailer,
    /// The present chunk's contents and how much of it was handed out.
    chunk: Vec<u8>,
    taken: usize,
}

impl SnapshotReader {
    pub(super) fn begin(
        file: Box<dyn DiskFile>,
        path: &str,
        info: SnapshotInfo,
    ) -> Result<Self, StorageError> {
        let (_, header_bytes, chain) = Header::read(&*file, path, info.file_bytes)?;
        let trailer = Trailer::read(&*file, path, info.file_bytes, header_bytes)?;
        let passed = Trailer { chunk_count: 0, contents_bytes: 0, chain };
        let path = path.to_owned();
        Ok(Self { file, path, info, trailer, offset: header_bytes, passed, chunk: Vec::new(), taken: 0 })
    }

    /// What the snapshot stands for.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Reads to the end, for the checks alone.
    pub(super) fn verify(&mut self) -> Result<(), StorageError> {
        while self.next_chunk()? {}
        Ok(())
    }

    /// Reads and checks the next chunk; returns false at the end of a whole file.
    fn next_chunk(&mut self) -> Result<bool, StorageError> {
        self.chunk.clear();
        self.taken = 0;
        let chunks_end = self.info.file_bytes - TRAILER_BYTES as u64;
        if self.offset == chunks_end {
            return if self.passed == self.trailer {
                Ok(false)
            } else {
                Err(corrupt(&self.path, chunks_end, "its trailer does not belong to its contents"))
            };
        }
        let left = chunks_end - self.offset;
        let mut header = [0; CHUNK_HEADER_BYTES];
        if left < header.len() as u64 {
            return Err(corrupt(&self.path, self.offset, "a chunk ends too early"));
        }
        format::read(&*self.file, &self.path, &mut header, self.offset)?;
        let mut rest = &header[..];
        let length = rest.get_u32_le() as usize;
        let checksum = rest.get_u32_le();
        if length == 0 || length > CHUNK_BYTES || (CHUNK_HEADER_BYTES + length) as u64 > left {
            return Err(corrupt(&self.path, self.offset, "a chunk's length is wrong"));
        }
        self.read_chunk(length, checksum)?;
        Ok(true)
    }

    fn read_chunk(&mut self, length: usize, checksum: u32) -> Result<(), StorageError> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(length, 0);
        format::read(&*self.file, &self.path, &mut chunk, self.offset + CHUNK_HEADER_BYTES as u64)?;
        if chunk_checksum(self.passed.chain, &chunk) != checksum {
            return Err(corrupt(&self.path, self.offset, "a chunk's checksum is wrong"));
        }
        self.chunk = chunk;
        self.offset += (CHUNK_HEADER_BYTES + length) as u64;
        self.passed.chunk_count = self.passed.chunk_count.saturating_add(1);
        self.passed.contents_bytes += length as u64;
        self.passed.chain = checksum;
        Ok(())
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.taken == self.chunk.len() {
            let more =
                self.next_chunk().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if !more {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..count].copy_from_slice(&self.chunk[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
