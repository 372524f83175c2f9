//! Directories in which no files can be made are noticed at the start.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::Arc;

use ruvector_storage::{Disk, DiskFile, LogStore, SimulatedDisk, SnapshotStore, StorageError};
use support::*;

/// A disk that makes no file in a directory, and removes none: as one of another user's, or one that is mounted to be
/// read only. Files that are there can be written to.
#[derive(Debug)]
struct Unwritable {
    disk: SimulatedDisk,
    directory: &'static str,
    /// Whether even what exists can't be removed, or only nothing new be made.
    keeps_all: bool,
}

impl Unwritable {
    fn refuse(&self, name: &str) -> io::Result<()> {
        if name.starts_with(self.directory) { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

impl Disk for Unwritable {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        if create && !self.keeps_all && self.disk.contents(name).is_none() {
            self.refuse(name)?;
        }
        self.disk.open(name, create)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        self.disk.create_directory(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.refuse(from)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.refuse(name)?;
        self.disk.remove(name)
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        self.disk.sync_directory(name)
    }
}

#[test]
fn a_directory_that_takes_no_files_is_noticed_at_the_start() {
    let disk = SimulatedDisk::new();
    // Everything is there that a start needs.
    let (mut log, _) = open(&disk).unwrap();
    log.append(&first_write(1)).unwrap();
    log.sync().unwrap();
    drop(log);
    drop(SnapshotStore::open(Arc::new(disk.clone()), OWNER).unwrap());
    for keeps_all in [false, true] {
        for directory in ["log", "snapshots"] {
            let disk = Arc::new(Unwritable { disk: disk.fork(), directory, keeps_all });
            let opened = LogStore::open(Arc::clone(&disk) as Arc<dyn Disk>, OWNER, SMALL);
            let opened = opened.and_then(|_| SnapshotStore::open(disk, OWNER));
            match opened {
                Err(error @ StorageError::Io { .. }) => {
                    let expected = format!("making files in {directory}: permission denied");
                    assert_eq!(error.to_string(), expected);
                }
                other => panic!("{directory}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_tried_leaves_nothing() {
    let disk = SimulatedDisk::new();
    for _ in 0..2 {
        open(&disk).unwrap();
        SnapshotStore::open(Arc::new(disk.clone()), OWNER).unwrap();
        assert_eq!(disk.list("log").unwrap(), ["00000000000000000001.segment"]);
        assert_eq!(disk.list("snapshots").unwrap(), [""; 0]);
    }
}
