//! The directory of snapshot files.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ruvector_protocol::{GroupId, SnapshotMeta};

use super::format::{CHUNK_BYTES, FOREIGN_ADVICE, Header, Trailer};
use super::name::{self, DIRECTORY};
use super::{
    SnapshotInfo, SnapshotListing, SnapshotReader, SnapshotReceiver, SnapshotWriter, UnusableSnapshot,
};
use crate::directory::check_writable;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// All snapshot files of a node. Cheap to clone, usable from several threads.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    owner: Owner,
    next_temporary: AtomicU64,
    /// Names that a writer has begun.
    begun: Mutex<BTreeSet<String>>,
    /// Names of unusable snapshots that the log of this process tells of already.
    told: Mutex<BTreeSet<String>>,
}

impl SnapshotStore {
    /// Opens the owner's store and removes what was left unfinished.
    ///
    /// # Errors
    /// If the disk refuses; [`StorageError::Foreign`] if there is a snapshot of another node. A damaged one is none:
    /// perhaps nobody needs it.
    pub fn open(disk: Arc<dyn Disk>, owner: Owner) -> Result<Self, StorageError> {
        disk.create_directory(DIRECTORY).map_err(StorageError::io("creating", DIRECTORY))?;
        disk.sync_directory("").map_err(StorageError::io("syncing", "the data directory"))?;
        check_writable(&*disk, DIRECTORY, &name::temporary(0))?;
        // A name may have been seen by a process that died before the name was durable.
        disk.sync_directory(DIRECTORY).map_err(StorageError::io("syncing", DIRECTORY))?;
        for file in disk.list(DIRECTORY).map_err(StorageError::io("listing", DIRECTORY))? {
            if name::is_temporary(&file) {
                let path = format!("{DIRECTORY}/{file}");
                disk.remove(&path).map_err(StorageError::io("removing", &path))?;
            }
        }
        let shared = Shared {
            disk,
            owner,
            next_temporary: AtomicU64::new(1),
            begun: Mutex::default(),
            told: Mutex::default(),
        };
        let store = Self { shared: Arc::new(shared) };
        let unusable = store.listing()?.unusable.into_iter().map(|snapshot| snapshot.error);
        match unusable.into_iter().find(|error| matches!(error, StorageError::Foreign { .. })) {
            Some(foreign) => Err(foreign),
            None => Ok(store),
        }
    }

    /// Opens the contents of a snapshot in a data directory, whosever it is, and changes nothing there: for making
    /// something new from it.
    ///
    /// # Errors
    /// If there is none of that name or it is damaged.
    pub fn open_contents_of_any(disk: &dyn Disk, name: &str) -> Result<SnapshotReader, StorageError> {
        let path = name::file(name)?;
        let file = disk.open(&path, false).map_err(StorageError::io("opening", &path))?;
        let (_, info) = info_of(&*file, &path, name)?;
        SnapshotReader::begin(file, &path, info)
    }

    /// The name that the node gives its own snapshot of a position.
    #[must_use]
    pub fn automatic_name(group: GroupId, meta: &SnapshotMeta) -> String {
        name::automatic(group, meta)
    }

    /// Begins a snapshot file under a temporary name.
    ///
    /// # Errors
    /// If the name is taken, not a plain file name, or begins as automatic ones do and is not the one of
    /// this group and position; or if the disk refuses.
    pub fn create(
        &self,
        name: &str,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<SnapshotWriter, StorageError> {
        name::file(name)?;
        if name::is_automatic(name) && name != name::automatic(group, meta) {
            let what = "names that begin so are the node's own".to_owned();
            return Err(name::refuse(name, io::ErrorKind::InvalidInput, what));
        }
        let reservation = Reservation::new(self, name)?;
        match self.info(name) {
            Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            // The node's own takes the place of one that is damaged.
            Err(StorageError::Corrupt { .. }) if name::is_automatic(name) => {}
            Ok(_)
            | Err(StorageError::Corrupt { .. } | StorageError::Foreign { .. } | StorageError::Mismatch(_)) => {
                return Err(taken(name));
            }
            Err(error) => return Err(error),
        }
        let file = self.begin_file(SYNC_WRITTEN_EVERY_BYTES)?;
        SnapshotWriter::begin(file, reservation, self.header(group, meta))
    }

    /// The usable snapshots, by group and position.
    ///
    /// # Errors
    /// If the disk refuses to list them.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, StorageError> {
        self.listing().map(|listing| listing.usable)
    }

    /// All snapshots. One whose header or trailer is damaged, or can't be read, is told of in the log, once, and stands
    /// in nobody's way.
    ///
    /// # Errors
    /// If the disk refuses to list them.
    pub fn listing(&self) -> Result<SnapshotListing, StorageError> {
        let mut listing = SnapshotListing::default();
        for file in self.shared.disk.list(DIRECTORY).map_err(StorageError::io("listing", DIRECTORY))? {
            let Some(name) = name::of_file(&file) else { continue };
            match self.info(name) {
                Ok((info, _)) => listing.usable.push(info),
                // Removed since it was listed.
                Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.tell(name, &error);
                    let (name, automatic) = (name.to_owned(), name::is_automatic(name));
                    listing.unusable.push(UnusableSnapshot { name, automatic, error });
                }
            }
        }
        listing.usable.sort_by(|a, b| {
            let key = |info: &SnapshotInfo| (info.group, info.meta.position.index, info.meta.position.term);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(listing)
    }

    fn tell(&self, name: &str, error: &StorageError) {
        if lock(&self.shared.told).insert(name.to_owned()) {
            tracing::error!("snapshot {name} can't be used, and the node goes on without it: {error}");
        }
    }

    /// Opens a snapshot's contents for reading; every chunk is verified before its bytes are handed out.
    ///
    /// # Errors
    /// If there is none of that name or it is damaged.
    pub fn open_contents(&self, name: &str) -> Result<SnapshotReader, StorageError> {
        let (info, file) = self.info(name)?;
        SnapshotReader::begin(file, &name::file(name)?, info)
    }

    /// Raw bytes of the file, to be sent to a peer; fewer than asked for at its end, none behind it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn read_raw(&self, name: &str, offset: u64, bytes_max: usize) -> Result<Bytes, StorageError> {
        let path = name::file(name)?;
        let file = self.shared.disk.open(&path, false).map_err(StorageError::io("opening", &path))?;
        let size = file.size().map_err(StorageError::io("reading the size of", &path))?;
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max)];
        file.read_at(&mut bytes, offset).map_err(StorageError::io("reading", &path))?;
        Ok(bytes.into())
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
        let announced = self.header(group, meta);
        Ok(SnapshotReceiver::begin(self.begin_file(SYNC_RECEIVED_EVERY_BYTES)?, announced, total_bytes))
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// If there is none of that name or the disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = name::file(name)?;
        self.shared.disk.remove(&path).map_err(StorageError::io("removing", &path))?;
        self.sync_directory()
    }

    fn info(&self, name: &str) -> Result<(SnapshotInfo, Box<dyn DiskFile>), StorageError> {
        let path = name::file(name)?;
        let file = self.shared.disk.open(&path, false).map_err(StorageError::io("opening", &path))?;
        let (header, info) = info_of(&*file, &path, name)?;
        self.shared.owner.check(header.owner, &path, FOREIGN_ADVICE)?;
        Ok((info, file))
    }

    fn header(&self, group: GroupId, meta: &SnapshotMeta) -> Header {
        Header { owner: self.shared.owner, group, meta: meta.clone() }
    }

    fn begin_file(&self, sync_every_bytes: u64) -> Result<TemporaryFile, StorageError> {
        let path = name::temporary(self.shared.next_temporary.fetch_add(1, Ordering::Relaxed));
        let file = self.shared.disk.open(&path, true).map_err(StorageError::io("creating", &path))?;
        Ok(TemporaryFile {
            store: self.clone(),
            path,
            file,
            sync_every_bytes,
            written: 0,
            synced: 0,
            kept: false,
        })
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.shared.disk.sync_directory(DIRECTORY).map_err(StorageError::io("syncing", DIRECTORY))
    }

    fn begun(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.shared.begun)
    }
}

fn lock(names: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a file says of itself, whosever it is, if its header and trailer are whole.
pub(super) fn info_of(
    file: &dyn DiskFile,
    path: &str,
    name: &str,
) -> Result<(Header, SnapshotInfo), StorageError> {
    let file_bytes = file.size().map_err(StorageError::io("reading the size of", path))?;
    let (header, header_bytes, _) = Header::read(file, path, file_bytes)?;
    Trailer::read(file, path, file_bytes, header_bytes)?;
    let (group, meta) = (header.group, header.meta.clone());
    let automatic = name::is_automatic(name);
    Ok((header, SnapshotInfo { name: name.to_owned(), group, meta, file_bytes, automatic }))
}

fn taken(name: &str) -> StorageError {
    name::refuse(name, io::ErrorKind::AlreadyExists, "there is a snapshot of that name".to_owned())
}

/// The right to use a name, so that of two writers of one name the second is refused.
#[derive(Debug)]
pub(super) struct Reservation {
    store: SnapshotStore,
    pub(super) name: String,
}

impl Reservation {
    fn new(store: &SnapshotStore, name: &str) -> Result<Self, StorageError> {
        if store.begun().insert(name.to_owned()) {
            Ok(Self { store: store.clone(), name: name.to_owned() })
        } else {
            Err(taken(name))
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.begun().remove(&self.name);
    }
}

/// A file that is written is synced each time that it has grown by this much, which is a chunk: whatever is flushed holds
/// up the syncs of the log, for which clients wait, for as long as it takes.
const SYNC_WRITTEN_EVERY_BYTES: u64 = CHUNK_BYTES as u64;
/// One that is received comes to a node that is behind, and has to catch up more than it has to answer; but there may be
/// other nodes on its disk.
const SYNC_RECEIVED_EVERY_BYTES: u64 = 1 << 20;

/// A file that is removed again unless it is published.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    store: SnapshotStore,
    pub(super) path: String,
    pub(super) file: Box<dyn DiskFile>,
    /// How much is written before it is synced.
    sync_every_bytes: u64,
    pub(super) written: u64,
    synced: u64,
    kept: bool,
}

impl TemporaryFile {
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
        self.store.shared.disk.open(&self.path, false).map_err(StorageError::io("opening", &self.path))
    }

    /// Makes the file durable, first its contents, then its name.
    pub(super) fn publish(mut self, name: &str) -> Result<SnapshotInfo, StorageError> {
        let path = name::file(name)?;
        let (_, info) = info_of(&*self.file, &self.path, name)?;
        self.sync()?;
        self.store.shared.disk.rename(&self.path, &path).map_err(StorageError::io("naming", &path))?;
        self.kept = true;
        self.store.sync_directory()?;
        Ok(info)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.store.shared.disk.remove(&self.path)
        {
            tracing::warn!(file = %self.path, %error, "an unfinished snapshot could not be removed");
        }
    }
}
