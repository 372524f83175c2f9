//! Segments are given up only for what stands in a later one.
#![allow(clippy::unwrap_used)]

mod support;

use ruvector_protocol::{GroupId, Index, Write};
use ruvector_storage::{Crash, Disk, SimulatedDisk, StorageError};
use support::*;

const SECOND: &str = "log/00000000000000000002.segment";

/// A log of nothing but a base and a hard state, without entries that would hold a segment.
fn without_entries() -> (SimulatedDisk, Twin) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let write = Write { snapshot: Some(meta(5, 9)), hard_state: Some(hard_state(6, Some(2), 9)), ..write(1) };
    let mut twin = Twin::default();
    twin.append(&write);
    log.append(&write).unwrap();
    log.sync().unwrap();
    (disk, twin)
}

#[test]
fn a_segment_that_was_only_begun_replaces_nothing() {
    let (disk, twin) = without_entries();
    let (mut log, _) = open(&disk).unwrap();
    // Does not fit the first segment, and the process dies when the second one has got no more than its name.
    log.append(&entries(1, [entry(6, 10, 5_000)])).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert!(disk.contents(SECOND).is_some(), "a second segment is begun");

    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, twin.groups);
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(&disk).unwrap().1, twin.groups, "nothing was written, and something is forgotten");
}

#[test]
fn a_log_whose_only_batch_is_damaged_is_not_an_empty_log() {
    let (disk, _) = without_entries();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&entries(1, [entry(6, 10, 5_000)])).unwrap();
    log.compact(GroupId(1), &meta(6, 10)).unwrap();
    log.sync().unwrap();
    let names = disk.list("log").unwrap();
    let segments: Vec<&String> = names.iter().filter(|name| name.ends_with(".segment")).collect();
    let [only] = segments[..] else { panic!("there is one segment: {names:?}") };
    // Nothing else says what its first batch said, nor that there was one.
    disk.remove(MARK).unwrap();
    disk.flip_bit(&format!("log/{only}"), 100, 0);
    let message = match open(&disk) {
        Err(error @ StorageError::Corrupt { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok((_, recovered)) => panic!("expected damage to be reported, got {recovered:?}"),
    };
    assert!(message.contains("first batch"), "{message}");
}

/// One group writes two entries and rests, while another fills segment after segment and compacts its log.
#[test]
fn a_group_that_is_rewritten_keeps_no_segment_of_others() {
    for rewrites in [false, true] {
        let disk = SimulatedDisk::new();
        let mut twin = Twin::default();
        let (mut log, _) = open(&disk).unwrap();
        for group in [1, 2] {
            log.append(&first_write(group)).unwrap();
            twin.append(&first_write(group));
        }
        for write in [entries(2, [entry(1, 1, 50)]), entries(2, [entry(2, 2, 50)])] {
            log.append(&write).unwrap();
            twin.append(&write);
        }
        for index in 1..=40 {
            let write = entries(1, [entry(1, index, 1_000)]);
            log.append(&write).unwrap();
            twin.append(&write);
            log.compact(GroupId(1), &meta(1, index)).unwrap();
            twin.compact(1, &meta(1, index));
            log.sync().unwrap();
        }
        assert!(log.segments_held(GroupId(2)) > 5, "the entries of the one lie in an old segment");
        if rewrites {
            log.rewrite(GroupId(2)).unwrap();
            assert_eq!(log.segments_held(GroupId(2)), 0);
        }
        log.sync().unwrap();
        let read = log.read(GroupId(2), Index(1), Index(2), usize::MAX).unwrap();
        assert_eq!(read, twin.groups[&GroupId(2)].entries);
        drop(log);
        let names = disk.list("log").unwrap();
        let segments = names.iter().filter(|name| name.ends_with(".segment")).count();
        assert_eq!(segments < 3, rewrites, "{names:?}");
        assert_eq!(open(&disk).unwrap().1, twin.groups);
    }
}
