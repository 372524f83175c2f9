//! The directory of snapshot files.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ruvector_protocol::{GroupId, SnapshotMeta};

use super::format::{FOREIGN_ADVICE, Header};
use super::info::{SnapshotInfo, SnapshotListing, UnusableSnapshot, info_of};
use super::name::{self, DIRECTORY};
use super::reader::SnapshotReader;
use super::receiver::SnapshotReceiver;
use super::unfinished::{
    Reservation, SYNC_RECEIVED_EVERY_BYTES, SYNC_WRITTEN_EVERY_BYTES, Shared, TemporaryFile, lock, taken,
};
use super::writer::SnapshotWriter;
use crate::directory::check_writable;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// All snapshot files of a node. Cheap to clone, usable from several threads.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    shared: Arc<Shared>,
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
        let reservation = Reservation::new(&self.shared, name)?;
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
        let file = TemporaryFile::begin(&self.shared, SYNC_WRITTEN_EVERY_BYTES)?;
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
        let file = TemporaryFile::begin(&self.shared, SYNC_RECEIVED_EVERY_BYTES)?;
        Ok(SnapshotReceiver::begin(file, announced, total_bytes))
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// If there is none of that name or the disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = name::file(name)?;
        self.shared.disk.remove(&path).map_err(StorageError::io("removing", &path))?;
        self.shared.sync_directory()
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
}
