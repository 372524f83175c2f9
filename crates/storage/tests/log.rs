//! The log in ordinary use, on a disk that works.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use ruvector_protocol::{GroupId, Index, Write};
use ruvector_storage::{Crash, Disk, LogOptions, LogStore, SimulatedDisk};
use support::*;

#[test]
fn what_was_synced_is_there_after_reopening() {
    let disk = SimulatedDisk::new();
    let (mut log, recovered) = open(&disk).unwrap();
    assert!(recovered.is_empty(), "a new log holds no group");
    let mut twin = Twin::default();
    for write in [
        first_write(1),
        first_write(2),
        entries(1, [entry(1, 1, 0), entry(1, 2, 100), entry(1, 3, 1)]),
        entries(2, [entry(1, 1, 9)]),
        remembering(1, [(1, 3), (2, 3)]),
        remembering(1, [(1, 3), (2, 2), (3, 1)]),
        entries(1, [entry(2, 2, 50)]),
    ] {
        log.append(&write).unwrap();
        twin.append(&write);
    }
    log.sync().unwrap();
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, twin.groups);
    assert_eq!(log.bounds(GroupId(1)), Some((Index(1), Index(2))));
    assert_eq!(log.bounds(GroupId(3)), None);
}

#[test]
fn what_is_remembered_of_others_is_kept_when_its_segment_is_given_up() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    let mut append = |log: &mut LogStore, write: Write| {
        log.append(&write).unwrap();
        twin.append(&write);
        log.sync().unwrap();
    };
    append(&mut log, first_write(1));
    append(&mut log, remembering(1, [(1, 8), (2, 7)]));
    for index in 1..=60 {
        append(&mut log, entries(1, [entry(1, index, 500)]));
    }
    log.compact(GroupId(1), &meta(1, 60)).unwrap();
    log.sync().unwrap();
    twin.compact(1, &meta(1, 60));
    assert!(disk.contents("log/00000000000000000001.segment").is_none(), "the first segment is gone");
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(open(&disk).unwrap().1, twin.groups);
}

#[test]
fn a_sync_is_one_sync_of_one_file() {
    let disk = SimulatedDisk::new();
    let options = LogOptions { segment_bytes: 1 << 20, recycled_segments_max: 1 };
    let mut log = LogStore::open(Arc::new(disk.clone()), OWNER, options).unwrap();
    log.append(&first_write(1)).unwrap();
    log.append(&first_write(2)).unwrap();
    log.sync().unwrap();
    let segment_bytes = || disk.contents("log/00000000000000000001.segment").unwrap().len();
    let begun_with = segment_bytes();
    for index in 1..=100 {
        let before = (disk.file_syncs(), disk.operations(), log.sync_count());
        log.append(&entries(1, [entry(1, index, 500)])).unwrap();
        log.append(&entries(2, [entry(1, index, 20)])).unwrap();
        log.sync().unwrap();
        let after = (disk.file_syncs(), disk.operations(), log.sync_count());
        assert_eq!(after, (before.0 + 1, before.1 + 3, before.2 + 1), "one write, one sync, and the mark");
        log.sync().unwrap();
        assert_eq!(disk.operations(), after.1, "a sync with nothing to do does nothing");
    }
    // A 64th of a segment at a time, or less than that of what 100 batches hold would be left.
    assert!((16 << 10..64 << 10).contains(&begun_with), "zeros are written ahead: {begun_with}");
    assert!((64 << 10..100 << 10).contains(&segment_bytes()), "and with the batches: {}", segment_bytes());
}

#[test]
fn reads_respect_their_bounds() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&first_write(1)).unwrap();
    let all: Vec<_> = (1..=40).map(|index| entry(1, index, 200)).collect();
    for one in &all {
        log.append(&entries(1, [one.clone()])).unwrap();
        if one.index.0 % 3 == 0 {
            log.sync().unwrap();
        }
    }
    let read = |from, through, bytes| log.read(GroupId(1), Index(from), Index(through), bytes).unwrap();
    assert_eq!(read(1, 40, usize::MAX), all, "durable or not");
    assert_eq!(read(5, 9, usize::MAX), all[4..9]);
    assert_eq!(read(39, u64::MAX, usize::MAX), all[38..]);
    assert_eq!(read(7, 40, 0), all[6..7], "at least one");
    assert_eq!(read(7, 40, 600), all[6..8], "as many as fit");
    assert!(read(0, 40, 600).is_empty(), "not behind the base");
    assert!(read(41, 50, 600).is_empty(), "beyond the end");
    assert!(read(9, 8, 600).is_empty());
    assert!(log.read(GroupId(9), Index(1), Index(1), 1).unwrap().is_empty(), "an unknown group");
}

#[test]
fn compaction_recycles_segments_and_keeps_the_rest() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    for group in [1, 2] {
        log.append(&first_write(group)).unwrap();
        twin.append(&first_write(group));
    }
    let mut sizes = Vec::new();
    for index in 1..=400 {
        for group in [1, 2] {
            let write = entries(group, [entry(1, index, 100)]);
            log.append(&write).unwrap();
            twin.append(&write);
            if index % 20 == 0 {
                log.compact(GroupId(group), &meta(1, index - 3)).unwrap();
                twin.compact(group, &meta(1, index - 3));
            }
        }
        log.sync().unwrap();
        sizes.push(log.size_bytes());
    }
    assert!(*sizes.iter().max().unwrap() < 9 * SMALL.segment_bytes, "segments are given back: {sizes:?}");
    assert!(log.group_bytes(GroupId(1)) < 1000, "{}", log.group_bytes(GroupId(1)));
    let renames = disk.take_trace().iter().filter(|done| format!("{done:?}").contains("spare")).count();
    assert!(renames > 10, "segments are used again");
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, twin.groups);
}

#[test]
fn a_segment_that_the_disk_has_rounded_up_to_whole_blocks_is_used_again() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open_with(&disk, ODD).unwrap();
    log.append(&first_write(1)).unwrap();
    for index in 1..=80 {
        log.append(&entries(1, [entry(1, index, 500)])).unwrap();
        log.sync().unwrap();
    }
    log.compact(GroupId(1), &meta(1, 80)).unwrap();
    log.sync().unwrap();
    let spares = |disk: &SimulatedDisk| {
        let names = disk.list("log").unwrap();
        let spares: Vec<String> = names.into_iter().filter(|name| name.ends_with(".spare")).collect();
        assert!(spares.iter().all(|name| {
            disk.contents(&format!("log/{name}")).unwrap().len() > ODD.segment_bytes as usize
        }));
        spares
    };
    let before = spares(&disk);
    assert_eq!(before.len(), 2);
    drop(log);
    open_with(&disk, ODD).unwrap();
    assert_eq!(spares(&disk), before);
}

#[test]
fn a_write_larger_than_a_segment_is_kept_whole() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    for write in [
        first_write(1),
        entries(1, [entry(1, 1, 10)]),
        entries(1, (2..=5).map(|index| entry(1, index, 5000))),
        entries(1, [entry(1, 6, 10)]),
    ] {
        log.append(&write).unwrap();
        log.sync().unwrap();
        twin.append(&write);
    }
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, twin.groups);
    assert_eq!(
        log.read(GroupId(1), Index(1), Index(6), usize::MAX).unwrap(),
        twin.groups[&GroupId(1)].entries
    );
}

#[test]
fn a_snapshot_in_a_write_drops_what_was_there() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    for write in [
        first_write(1),
        entries(1, (1..=5).map(|index| entry(1, index, 10))),
        Write {
            snapshot: Some(meta(3, 90)),
            hard_state: Some(hard_state(3, None, 90)),
            ..entries(1, [entry(3, 91, 30), entry(4, 92, 3)])
        },
        entries(1, [entry(4, 93, 30)]),
    ] {
        log.append(&write).unwrap();
        twin.append(&write);
        log.sync().unwrap();
    }
    assert_eq!(log.bounds(GroupId(1)), Some((Index(91), Index(93))));
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, twin.groups);
}

#[test]
#[should_panic(expected = "entry 3 follows entry 1")]
fn a_gap_is_a_broken_invariant() {
    let (mut log, _) = open(&SimulatedDisk::new()).unwrap();
    log.append(&first_write(1)).unwrap();
    log.append(&entries(1, [entry(1, 1, 10), entry(1, 3, 10)])).unwrap();
}

#[test]
#[should_panic(expected = "its log has no beginning")]
fn a_group_begins_with_a_snapshot() {
    let (mut log, _) = open(&SimulatedDisk::new()).unwrap();
    log.append(&entries(1, [entry(1, 1, 10)])).unwrap();
}

#[test]
#[should_panic(expected = "the vote of term 1 changes")]
fn a_vote_is_never_changed() {
    let (mut log, _) = open(&SimulatedDisk::new()).unwrap();
    log.append(&first_write(1)).unwrap();
    log.append(&Write { hard_state: Some(hard_state(1, Some(2), 0)), ..write(1) }).unwrap();
}
