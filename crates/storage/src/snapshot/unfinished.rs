//! Snapshot files on their way into a store.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{CHUNK_BYTES, Header};
use super::info::{SnapshotInfo, info_of};
use super::name::{self, DIRECTORY};
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// What a store, its clones and their unfinished files have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) owner: Owner,
    pub(super) next_temporary: AtomicU64,
    /// Names that a writer has begun.
    pub(super) begun: Mutex<BTreeSet<String>>,
    /// Names of unusable snapshots that the log of this process tells of already.
    pub(super) told: Mutex<BTreeSet<String>>,
}

impl Shared {
    pub(super) fn sync_directory(&self) -> Result<(), StorageError> {
        self.disk.sync_directory(DIRECTORY).map_err(StorageError::io("syncing", DIRECTORY))
    }

    pub(super) fn begun(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.begun)
    }
}

/// The right to use a name, so that of two writers of one name the second is refused.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    pub(super) name: String,
}

impl Reservation {
    pub(super) fn new(shared: &Arc<Shared>, name: &str) -> Result<Self, StorageError> {
        if shared.begun().insert(name.to_owned()) {
            Ok(Self { shared: Arc::clone(shared), name: name.to_owned() })
        } else {
            Err(taken(name))
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.begun().remove(&self.name);
    }
}

/// A file that is written is synced each time that it has grown by this much, which is a chunk: whatever is flushed holds
/// up the syncs of the log, for which clients wait, for as long as it takes.
pub(super) const SYNC_WRITTEN_EVERY_BYTES: u64 = CHUNK_BYTES as u64;
/// One that is received comes to a node that is behind, and has to catch up more than it has to answer; but there may be
/// other nodes on its disk.
pub(super) const SYNC_RECEIVED_EVERY_BYTES: u64 = 1 << 20;

/// A file that is removed again unless it is published.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    shared: Arc<Shared>,
    pub(super) path: String,
    pub(super) file: Box<dyn DiskFile>,
    /// How much is written before it is synced.
    sync_every_bytes: u64,
    pub(super) written: u64,
    synced: u64,
    kept: bool,
}

impl TemporaryFile {
    /// An empty one, which is synced each time that it has grown by so much.
    pub(super) fn begin(shared: &Arc<Shared>, sync_every_bytes: u64) -> Result<Self, StorageError> {
        let path = name::temporary(shared.next_temporary.fetch_add(1, Ordering::Relaxed));
        let file = shared.disk.open(&path, true).map_err(StorageError::io("creating", &path))?;
        let shared = Arc::clone(shared);
        Ok(Self { shared, path, file, sync_every_bytes, written: 0, synced: 0, kept: false })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_at(bytes, self.written).map_err(StorageError::io("writing", &self.path))?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= self.sync_every_bytes {
            self.sync()?;
        }
        Ok(())
    }

    /// Replaces the header by one of the same size.
    pub(super) fn replace_header(&mut self, header: &Header) -> Result<(), StorageError> {
        let (bytes, _) = header.encode();
        self.file.write_at(&bytes, 0).map_err(StorageError::io("writing", &self.path))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(StorageError::io("syncing", &self.path))?;
        self.synced = self.written;
        Ok(())
    }

    /// Opens the file once more, for reading what was written.
    pub(super) fn open_again(&self) -> Result<Box<dyn DiskFile>, StorageError> {
        self.shared.disk.open(&self.path, false).map_err(StorageError::io("opening", &self.path))
    }

    /// Makes the file durable, first its contents, then its name.
    pub(super) fn publish(mut self, name: &str) -> Result<SnapshotInfo, StorageError> {
        let path = name::file(name)?;
        let (_, info) = info_of(&*self.file, &self.path, name)?;
        self.sync()?;
        self.shared.disk.rename(&self.path, &path).map_err(StorageError::io("naming", &path))?;
        self.kept = true;
        self.shared.sync_directory()?;
        Ok(info)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.shared.disk.remove(&self.path)
        {
            tracing::warn!(file = %self.path, %error, "an unfinished snapshot could not be removed");
        }
    }
}

pub(super) fn taken(name: &str) -> StorageError {
    name::refuse(name, io::ErrorKind::AlreadyExists, "there is a snapshot of that name".to_owned())
}

pub(super) fn lock(names: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
