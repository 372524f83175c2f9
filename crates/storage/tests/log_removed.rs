//! A segment's file is closed before it is removed: whoever closes a removed file last waits until the system has given up
//! all that it held.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ruvector_protocol::GroupId;
use ruvector_storage::{Disk, DiskFile, LogStore, SimulatedDisk};
use support::*;

/// A disk that counts what is open of it, and looks at that whenever a file is removed.
#[derive(Clone, Debug, Default)]
struct Watched {
    disk: SimulatedDisk,
    /// Files of the log's directory.
    open: Arc<AtomicUsize>,
    removed: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn DiskFile>,
    open: Arc<AtomicUsize>,
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Disk for Watched {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(name, create)?;
        if !name.starts_with("log/") {
            return Ok(file);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(WatchedFile { file, open: Arc::clone(&self.open) }))
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

    /// The log has exactly its segments open, so there is one less open than there are when one of them is removed.
    fn remove(&self, name: &str) -> io::Result<()> {
        if !name.ends_with(".segment") {
            return self.disk.remove(name);
        }
        let segments = self.list("log")?.iter().filter(|name| name.ends_with(".segment")).count();
        assert_eq!(self.open.load(Ordering::Relaxed), segments - 1, "{name} is open while it is removed");
        self.removed.fetch_add(1, Ordering::Relaxed);
        self.disk.remove(name)
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        self.disk.sync_directory(name)
    }
}

impl DiskFile for WatchedFile {
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
        self.file.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
}

#[test]
fn a_segment_is_closed_before_it_is_removed() {
    let disk = Watched::default();
    let mut log = LogStore::open(Arc::new(disk.clone()), OWNER, SMALL).unwrap();
    log.append(&first_write(1)).unwrap();
    for index in 1..=20 {
        log.append(&entries(1, [entry(1, index, 2_000)])).unwrap();
        log.sync().unwrap();
    }
    log.compact(GroupId(1), &meta(1, 20)).unwrap();
    log.sync().unwrap();
    let removed = disk.removed.load(Ordering::Relaxed);
    assert!(removed > SMALL.recycled_segments_max, "{removed} were removed");
}
