//! A disk between a replica and its simulated one that leaves out what a careless replica would have left out.
//!
//! A sync that is swallowed here is a sync that the code never asked for: so the storage layer itself needs no
//! switch for its planted bugs.

use std::io;
use std::sync::Arc;

use ruvector_storage::Disk;
use ruvector_storage::disk::DiskFile;
use ruvector_storage::disk::simulated::SimulatedDisk;

/// Where the log's files are.
const LOG: &str = "log/";
/// Where the snapshots' files are.
const SNAPSHOTS: &str = "snapshots/";

/// A mistake of whoever writes to the disk. What a careless replica forgets is seen at its disk alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskBug {
    /// The log is written and not synced.
    LogNotSynced,
    /// A sync of the log that failed is taken for one that did not.
    FailedSyncIgnored,
    /// New and changed names of files are not made durable.
    NamesNotSynced,
    /// A snapshot gets its name without having been synced.
    SnapshotNotSynced,
}

/// The disk that a replica is given: the simulated one itself unless its use is to show a bug.
pub(crate) fn disk_for(disk: &SimulatedDisk, planted_bug: Option<DiskBug>) -> Arc<dyn Disk> {
    let disk = disk.clone();
    match planted_bug {
        Some(bug) => Arc::new(PlantedDisk { disk, bug }),
        None => Arc::new(disk),
    }
}

#[derive(Debug)]
struct PlantedDisk {
    disk: SimulatedDisk,
    bug: DiskBug,
}

#[derive(Debug)]
struct PlantedFile {
    file: Box<dyn DiskFile>,
    is_never_synced: bool,
    is_failure_ignored: bool,
}

impl Disk for PlantedDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(name, create)?;
        let plants = |bug: DiskBug, directory: &str| self.bug == bug && name.starts_with(directory);
        let is_never_synced =
            plants(DiskBug::LogNotSynced, LOG) || plants(DiskBug::SnapshotNotSynced, SNAPSHOTS);
        let is_failure_ignored = plants(DiskBug::FailedSyncIgnored, LOG);
        Ok(Box::new(PlantedFile { file, is_never_synced, is_failure_ignored }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        self.disk.create_directory(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        if self.bug == DiskBug::NamesNotSynced { Ok(()) } else { self.disk.sync_directory(name) }
    }
}

impl DiskFile for PlantedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn append_at(&mut self, bytes: &[u8], zeros: usize, offset: u64) -> io::Result<()> {
        self.file.append_at(bytes, zeros, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_never_synced {
            return Ok(());
        }
        let synced = self.file.sync();
        if self.is_failure_ignored { Ok(()) } else { synced }
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
}
