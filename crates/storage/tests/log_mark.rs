//! A log that has lost its end says so, because its end is known outside of it; and one that has not, never does.
//! That no crash at any operation makes a mark speak falsely is seen in `log_crash.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use ruvector_protocol::GroupId;
use ruvector_storage::{Crash, Disk, LogStore, SimulatedDisk, StorageError};
use support::*;

/// A log of so many batches after the first, in several segments.
fn written(batches: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&first_write(1)).unwrap();
    log.sync().unwrap();
    write_more(&mut log, 1..=batches);
    disk
}

fn write_more(log: &mut LogStore, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        log.append(&entries(1, [entry(1, index, 300)])).unwrap();
        log.sync().unwrap();
    }
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    let names = disk.list("log").unwrap().into_iter();
    names.filter(|name| name.ends_with(".segment")).map(|name| format!("log/{name}")).collect()
}

fn assert_rolled_back(disk: &SimulatedDisk, story: &str) -> String {
    let contents = |disk: &SimulatedDisk| {
        let contents = |file: &String| disk.contents(file).unwrap();
        segments(disk).iter().map(contents).collect::<Vec<_>>()
    };
    let before = contents(disk);
    match open(disk) {
        Err(error @ StorageError::RolledBack { .. }) => {
            assert!(contents(disk) == before, "{story}: what is left was changed");
            let message = error.to_string();
            assert!(message.contains("has lost what was durable"), "{message}");
            assert!(message.contains("remove this node's data directory"), "{message}");
            message
        }
        other => panic!("{story}: {other:?}"),
    }
}

#[test]
fn a_log_that_is_zeroed_or_cut_from_any_batch_on_is_refused() {
    let disk = written(25);
    let last = segments(&disk).pop().unwrap();
    let bytes = disk.contents(&last).unwrap();
    let batches: Vec<usize> =
        (64..bytes.len()).step_by(8).filter(|&at| bytes[at..].starts_with(b"RVB\x01")).collect();
    assert!(batches.len() > 3, "{batches:?}");
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for from in batches.iter().copied().flat_map(|at| [at, at + 40]).chain([end - 1]) {
        let (zeroed, cut) = (disk.fork(), disk.fork());
        let mut contents = bytes.clone();
        contents[from..].fill(0);
        zeroed.set_contents(&last, &contents);
        cut.set_contents(&last, &bytes[..from]);
        for disk in [zeroed, cut] {
            let message = assert_rolled_back(&disk, &format!("from byte {from}"));
            assert!(message.starts_with(&last) && message.contains("is missing"), "{message}");
        }
    }
}

#[test]
fn a_log_without_its_newest_segment_is_refused_and_so_is_none_at_all() {
    let disk = written(30);
    let mut left = segments(&disk);
    assert!(left.len() > 2);
    while let Some(newest) = left.pop() {
        disk.remove(&newest).unwrap();
        assert_rolled_back(&disk, &newest);
    }
}

#[test]
fn an_older_copy_of_the_log_is_refused() {
    let disk = written(3);
    let old = disk.fork();
    let (mut log, _) = open(&disk).unwrap();
    for newest in 4..=30 {
        write_more(&mut log, newest..=newest);
        let replaced = disk.fork();
        for file in segments(&disk) {
            match old.contents(&file) {
                Some(bytes) => replaced.set_contents(&file, &bytes),
                None => replaced.remove(&file).unwrap(),
            }
        }
        assert_rolled_back(&replaced, &format!("batch {newest} was there"));
    }
}

/// The log is longer than the mark, and is another one.
#[test]
fn a_log_that_went_on_from_an_older_copy_is_refused() {
    let disk = written(3);
    let old = disk.fork();
    let (mut log, _) = open(&disk).unwrap();
    write_more(&mut log, 4..=6);
    let (mut other, _) = open(&old).unwrap();
    for index in 4..=9 {
        other.append(&entries(1, [entry(2, index, 300)])).unwrap();
        other.sync().unwrap();
    }
    for file in segments(&old) {
        disk.set_contents(&file, &old.contents(&file).unwrap());
    }
    let message = assert_rolled_back(&disk, "another history");
    assert!(message.contains("batch 6 is another one"), "{message}");
}

#[test]
fn the_mark_tells_of_every_sync_while_the_machine_runs() {
    let disk = written(0);
    let (mut log, _) = open(&disk).unwrap();
    let mut before = disk.contents(MARK).unwrap();
    for index in 1..=20 {
        write_more(&mut log, index..=index);
        let mark = disk.contents(MARK).unwrap();
        assert_ne!(mark, before);
        before = mark;
    }
}

/// The sequence number of the batch behind those that the mark knows.
fn marked(disk: &SimulatedDisk) -> u64 {
    u64::from_le_bytes(disk.contents(MARK).unwrap()[16..24].try_into().unwrap())
}

/// What a power loss leaves of the mark is that of the newest segment or the newest compaction, at least.
#[test]
fn a_mark_is_durable_with_each_segment_and_each_compaction() {
    let disk = written(0);
    let (mut log, _) = open(&disk).unwrap();
    let (mut newest_segment, mut due, mut seen) = (segments(&disk).pop(), 0, 0);
    for index in 1..=60 {
        let before = marked(&disk);
        write_more(&mut log, index..=index);
        if segments(&disk).pop() != newest_segment {
            newest_segment = segments(&disk).pop();
            // The segment was begun when the batch did not fit the one before.
            due = before;
            seen += 1;
        }
        if index % 7 == 0 {
            log.compact(GroupId(1), &meta(1, index)).unwrap();
            log.sync().unwrap();
            due = marked(&disk);
        }
        let after = disk.fork();
        after.crash(Crash::LoseUnsynced);
        assert!(marked(&after) >= due, "after entry {index}: {} < {due}", marked(&after));
        open(&after).unwrap();
    }
    assert!(seen > 3);
}

/// From the first start on, and whatever became of the file before: a loss of power takes neither the mark nor its name.
#[test]
fn a_start_makes_a_mark_durable() {
    let disk = SimulatedDisk::new();
    open(&disk).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.contents(MARK).map(|bytes| bytes.len()), Some(64), "a new log has a mark");

    let disk = written(5);
    disk.remove(MARK).unwrap();
    disk.sync_directory("").unwrap();
    open(&disk).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(marked(&disk), 6, "and so has one that had lost it");
}

#[test]
fn a_mark_that_is_older_than_the_log_or_lost_or_damaged_stops_nobody() {
    let disk = written(2);
    let old_mark = disk.contents(MARK).unwrap();
    let (mut log, _) = open(&disk).unwrap();
    // Also such that everything the mark knows of was given up since.
    for index in 3..=40 {
        write_more(&mut log, index..=index);
        log.compact(GroupId(1), &meta(1, index - 1)).unwrap();
        log.sync().unwrap();
        let (older, without) = (disk.fork(), disk.fork());
        older.set_contents(MARK, &old_mark);
        without.remove(MARK).unwrap();
        for disk in [older, without] {
            let (log, _) = open(&disk).unwrap();
            assert_eq!(log.bounds(GroupId(1)).unwrap().1.0, index);
        }
    }
    let mark = disk.contents(MARK).unwrap();
    let flipped = (0..mark.len()).map(|at| {
        let mut bytes = mark.clone();
        bytes[at] ^= 4;
        bytes
    });
    for bytes in flipped.chain([vec![], vec![0; 64], vec![0xff; 64], mark[..63].to_vec(), vec![0; 10_000]]) {
        let disk = disk.fork();
        disk.set_contents(MARK, &bytes);
        drop(open(&disk).unwrap());
        // It is a good one from then on.
        let files = segments(&disk);
        disk.remove(files.last().unwrap()).unwrap();
        assert_rolled_back(&disk, "after a damaged mark");
    }
}

/// What recovery drops was never in a mark, and what comes in its place is.
#[test]
fn a_torn_tail_is_dropped_as_ever() {
    let disk = written(5);
    let (mut log, recovered) = open(&disk).unwrap();
    log.append(&entries(1, [entry(1, 6, 900)])).unwrap();
    // The write happens, its sync does not.
    disk.halt_after(1);
    log.sync().unwrap_err();
    for seed in 0..40 {
        let disk = disk.fork();
        disk.crash(Crash::Torn { seed });
        let (mut log, again) = open(&disk).unwrap();
        if again != recovered {
            continue;
        }
        log.append(&entries(1, [entry(2, 6, 200)])).unwrap();
        log.sync().unwrap();
        let (_, replaced) = open(&disk).unwrap();
        assert_eq!(replaced[&GroupId(1)].entries.last(), Some(&entry(2, 6, 200)));
    }
}

#[test]
fn a_mark_of_a_newer_version_is_not_called_damage() {
    let disk = written(1);
    let mut mark = disk.contents(MARK).unwrap();
    mark[8] = 7;
    let checksum = crc32c::crc32c(&mark[..60]);
    mark[60..].copy_from_slice(&checksum.to_le_bytes());
    disk.set_contents(MARK, &mark);
    match open(&disk) {
        Err(StorageError::Mismatch(message)) => {
            assert!(message.contains("log-mark has format 7"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}
