//! Snapshot files: a header, checksummed chunks of contents, a trailer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ruvector_protocol::{GroupId, SnapshotMeta};

use crate::disk::Disk;
use crate::error::StorageError;

/// A complete snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name, unique in the store.
    pub name: String,
    /// The group it is of.
    pub group: GroupId,
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// Size of the file.
    pub file_bytes: u64,
    /// Made by the node for its own use, and removed by it when a newer one exists.
    pub automatic: bool,
}

/// All snapshot files of a node. Cheap to clone, usable from several threads.
#[derive(Clone, Debug)]
pub struct SnapshotStore {}

impl SnapshotStore {
    /// Opens the store and removes what was left unfinished. Files whose header is damaged are an error.
    ///
    /// # Errors
    /// If the disk refuses or a header is damaged.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let _ = disk;
        todo!()
    }

    /// The name that the node gives its own snapshot of a position.
    #[must_use]
    pub fn automatic_name(group: GroupId, meta: &SnapshotMeta) -> String {
        let _ = (group, meta);
        todo!()
    }

    /// Begins a snapshot file under a temporary name.
    ///
    /// # Errors
    /// If the name is taken or not a plain file name, or the disk refuses.
    pub fn create(
        &self,
        name: &str,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<SnapshotWriter, StorageError> {
        let _ = (name, group, meta);
        todo!()
    }

    /// The complete snapshots, by group and position.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, StorageError> {
        todo!()
    }

    /// Opens a snapshot's contents for reading; every chunk is verified before its bytes are handed out.
    ///
    /// # Errors
    /// If there is none of that name or it is damaged.
    pub fn open_contents(&self, name: &str) -> Result<SnapshotReader, StorageError> {
        let _ = name;
        todo!()
    }

    /// Raw bytes of the file, to be sent to a peer.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn read_raw(&self, name: &str, offset: u64, bytes_max: usize) -> Result<Bytes, StorageError> {
        let _ = (name, offset, bytes_max);
        todo!()
    }

    /// Begins to receive a peer's snapshot file of a known size, under a temporary name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn receive(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        total_bytes: u64,
    ) -> Result<SnapshotReceiver, StorageError> {
        let _ = (group, meta, total_bytes);
        todo!()
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        let _ = name;
        todo!()
    }
}

/// Writes a snapshot's contents; buffers, so small writes are fine. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {}

impl SnapshotWriter {
    /// Completes the file: trailer, sync, rename, directory sync.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<SnapshotInfo, StorageError> {
        todo!()
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        todo!()
    }

    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}

/// Reads a snapshot's contents.
#[derive(Debug)]
pub struct SnapshotReader {}

impl SnapshotReader {
    /// What the snapshot stands for.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        todo!()
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        todo!()
    }
}

/// Receives a peer's snapshot file, piece by piece and in order.
#[derive(Debug)]
pub struct SnapshotReceiver {}

impl SnapshotReceiver {
    /// The next byte wanted.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        todo!()
    }

    /// Takes the piece at [`next_offset`](Self::next_offset).
    ///
    /// # Errors
    /// If the disk refuses, or more arrives than was announced.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StorageError> {
        let _ = data;
        todo!()
    }

    /// Verifies the whole file against its checksums and its announced meta, makes it durable and gives it
    /// its automatic name, replacing a file of that name.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it fails verification (the temporary file is then removed: the transfer
    /// may start again); else if the disk refuses.
    pub fn finish(self) -> Result<SnapshotInfo, StorageError> {
        todo!()
    }
}
