//! The log on the operating system's file system, past the page cache where that can be.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use ruvector_protocol::{GroupId, Index};
use ruvector_storage::{Disk, LogOptions, LogStore, RealDisk, SimulatedDisk};
use support::*;
use tempfile::TempDir;

/// Writes across segments that are filled with zeros, recycled and removed, with a start after every seventh. Returns what
/// the log held at last.
fn write(disk: &Arc<dyn Disk>, options: LogOptions) -> Recovered {
    let mut twin = Twin::default();
    let mut log = LogStore::open(Arc::clone(disk), OWNER, options).unwrap();
    log.append(&first_write(1)).unwrap();
    twin.append(&first_write(1));
    for index in 1..=60 {
        let bytes = if index % 20 == 0 { 40_000 } else { 37 * index as usize };
        let write = entries(1, [entry(1, index, bytes)]);
        log.append(&write).unwrap();
        twin.append(&write);
        if index % 10 == 0 {
            log.compact(GroupId(1), &meta(1, index - 5)).unwrap();
            twin.compact(1, &meta(1, index - 5));
        }
        log.sync().unwrap();
        let held = &twin.groups[&GroupId(1)].entries;
        let read = log.read(GroupId(1), held[0].index, Index(index), usize::MAX).unwrap();
        assert_eq!(&read, held, "after entry {index}");
        if index % 7 == 0 {
            drop(log);
            log = LogStore::open(Arc::clone(disk), OWNER, options).unwrap();
            assert_eq!(log.contents().unwrap(), twin.groups, "after entry {index}");
        }
    }
    twin.groups
}

/// All files of the log, without the zeros that they end with: how many there are is the disk's business.
fn files(disk: &dyn Disk) -> BTreeMap<String, Vec<u8>> {
    let contents = |name: String| {
        let file = disk.open(&format!("log/{name}"), false).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        (name, bytes)
    };
    disk.list("log").unwrap().into_iter().map(contents).collect()
}

#[test]
fn a_real_disk_holds_what_a_simulated_one_does() {
    for segment_bytes in [4096, 13_000, 64 << 10, 1 << 20] {
        let options = LogOptions { segment_bytes, recycled_segments_max: 2 };
        let directory = TempDir::new().unwrap();
        let real: Arc<dyn Disk> = Arc::new(RealDisk::new(directory.path()));
        let simulated: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        assert_eq!(write(&real, options), write(&simulated, options));
        let (real, simulated) = (files(&*real), files(&*simulated));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&real), names(&simulated));
        for (name, bytes) in real.iter().filter(|(name, _)| name.ends_with(".segment")) {
            assert!(bytes == &simulated[name], "{name} in segments of {segment_bytes}");
        }
    }
}
