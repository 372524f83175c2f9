//! The log on a disk that gives back something else than was written, or refuses.
#![allow(clippy::unwrap_used)]

mod support;

use ruvector_protocol::{GroupId, Index, Write};
use ruvector_storage::disk::BLOCK_BYTES;
use ruvector_storage::{Crash, Disk, LogStore, SimulatedDisk, StorageError};
use support::forge::{last_batch, reseal_header, reseal_last_batch};
use support::*;

const FIRST: &str = "log/00000000000000000001.segment";
const SECOND: &str = "log/00000000000000000002.segment";

/// Two segments of several batches; returns the state without and with the last batch, and the last
/// segment's name.
fn written() -> (SimulatedDisk, Recovered, Recovered, String) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    let mut before_last = twin.groups.clone();
    let mut writes = vec![first_write(1), first_write(2)];
    for index in 1..=9 {
        let state = Some(hard_state(index, Some(1), index - 1));
        writes.push(Write { hard_state: state, ..entries(1, [entry(index, index, 400)]) });
        writes.push(entries(2, [entry(index, index, 20)]));
    }
    for write in &writes {
        before_last = twin.groups.clone();
        log.append(write).unwrap();
        twin.append(write);
        log.sync().unwrap();
    }
    assert!(disk.contents(SECOND).is_some(), "the log has a second segment");
    (disk, before_last, twin.groups, SECOND.to_owned())
}

fn assert_corrupt(outcome: Result<(LogStore, Recovered), StorageError>, story: &str) -> String {
    match outcome {
        Err(error @ StorageError::Corrupt { .. }) => error.to_string(),
        other => panic!("{story}: expected damage to be reported, got {other:?}"),
    }
}

#[test]
fn no_flipped_bit_is_ever_taken_for_data() {
    let (refused, shortened) = flip_every_bit(true);
    assert!(refused > 4000 && shortened == 0, "refused {refused}, shortened {shortened}");
    let (refused, shortened) = flip_every_bit(false);
    assert!(refused > 4000 && (100..200).contains(&shortened), "refused {refused}, shortened {shortened}");
}

/// How often the log was refused, and how often its last batch was taken for a torn one, which it may be only if no mark
/// says that it was durable.
fn flip_every_bit(with_mark: bool) -> (usize, usize) {
    let (disk, before_last, whole, last_segment) = written();
    if !with_mark {
        disk.remove(MARK).unwrap();
    }
    let mut refused = 0;
    let mut shortened = 0;
    for file in [FIRST, SECOND] {
        let original = disk.contents(file).unwrap();
        for offset in 0..original.len() as u64 {
            let disk = disk.fork();
            assert!(disk.flip_bit(file, offset, (offset % 8) as u8));
            match open(&disk) {
                Err(StorageError::Corrupt { .. } | StorageError::RolledBack { .. }) => refused += 1,
                Ok((_, recovered)) if recovered == whole => {
                    assert_eq!(
                        original[offset as usize], 0,
                        "{file}:{offset}: only unused zeros may be damaged unseen"
                    );
                }
                Ok((_, recovered)) => {
                    assert_eq!(file, last_segment, "{file}:{offset}: only the end may be cut");
                    assert_eq!(recovered, before_last, "{file}:{offset}: only the last batch may be dropped");
                    shortened += 1;
                }
                Err(other) => panic!("{file}:{offset}: {other}"),
            }
        }
    }
    (refused, shortened)
}

#[test]
fn damage_is_told_with_place_and_advice() {
    let (disk, ..) = written();
    disk.flip_bit(SECOND, 300, 0);
    let message = assert_corrupt(open(&disk), "a flipped bit in the middle");
    assert!(message.starts_with(&format!("{SECOND} is damaged at byte 64: batch ")), "{message}");
    assert!(
        message.contains("was durable: batch ") && message.contains("remove this node's data"),
        "{message}"
    );
}

#[test]
fn damage_in_any_earlier_segment_is_not_a_torn_tail() {
    let (disk, ..) = written();
    let mut bytes = disk.contents(FIRST).unwrap();
    // Everything from the middle on is gone, as if the tail had been torn there.
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0);
    disk.set_contents(FIRST, &bytes);
    let message = assert_corrupt(open(&disk), "a cut segment");
    assert!(message.contains("is damaged or missing: log/00000000000000000002.segment says"), "{message}");
}

#[test]
fn files_that_are_no_segments_are_refused() {
    let garbage: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&[][..], &[0; 10], &[0; 4096], &garbage, &[0xff; 4096]] {
        for file in [FIRST, SECOND] {
            let (disk, ..) = written();
            disk.set_contents(file, bytes);
            assert_corrupt(open(&disk), file);
        }
    }
}

#[test]
fn huge_lengths_are_refused_without_memory_or_panic() {
    let (disk, ..) = written();
    for length in [u32::MAX, u32::MAX - 31, 1 << 31, 0] {
        let disk = disk.fork();
        let mut bytes = disk.contents(FIRST).unwrap();
        bytes[68..72].copy_from_slice(&length.to_le_bytes());
        disk.set_contents(FIRST, &bytes);
        assert_corrupt(open(&disk), "a batch's length");
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    for missing in [1, 2, 3] {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        log.append(&first_write(1)).unwrap();
        for index in 1..=12 {
            log.append(&entries(1, [entry(1, index, 1000)])).unwrap();
            log.sync().unwrap();
        }
        assert_eq!(disk.list("log").unwrap().len(), 4);
        disk.remove(&format!("log/0000000000000000000{missing}.segment")).unwrap();
        let message = assert_corrupt(open(&disk), "a missing segment");
        assert!(message.contains("missing"), "{message}");
    }
}

/// A log whose sectors 2 to 5 hold nothing but the bytes of one command, with a batch behind it: only
/// checksums tell that one of them is not what was written.
fn one_large_command() -> (SimulatedDisk, Vec<u8>) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&first_write(1)).unwrap();
    log.sync().unwrap();
    log.append(&entries(1, [entry(1, 1, 2800)])).unwrap();
    log.sync().unwrap();
    log.append(&entries(1, [entry(1, 2, 10)])).unwrap();
    log.sync().unwrap();
    let bytes = disk.contents(FIRST).unwrap();
    assert_eq!(bytes[1024..1280], bytes[1280..1536], "the command repeats itself every 256 bytes");
    (disk, bytes)
}

/// Two logs that are the same but for one batch in the middle, and as long: `(segments' names, one, other)`. No mark knows
/// which of them was there.
fn two_histories(batches_after: u64) -> (Vec<String>, SimulatedDisk, SimulatedDisk) {
    let history = |term| {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        let after = (3..3 + batches_after).map(|index| entry(2, index, 900));
        let entries_of_both = [entry(1, 1, 900)].into_iter().chain([entry(term, 2, 900)]).chain(after);
        log.append(&first_write(1)).unwrap();
        for one in entries_of_both {
            log.append(&entries(1, [one])).unwrap();
            log.sync().unwrap();
        }
        disk.remove(MARK).unwrap();
        disk
    };
    let (one, other) = (history(1), history(2));
    let files = one.list("log").unwrap().into_iter().map(|name| format!("log/{name}"));
    (files.collect(), one, other)
}

/// Everything is whole, and the terms never fall: only the chain tells that the batches were never in one log.
#[test]
fn a_batch_that_follows_another_one_than_it_was_written_behind_is_refused() {
    let (_, one, other) = two_histories(1);
    let mut mixed = one.contents(FIRST).unwrap();
    let at = last_batch(&mixed);
    mixed[at..].copy_from_slice(&other.contents(FIRST).unwrap()[at..]);
    one.set_contents(FIRST, &mixed);
    let message = assert_corrupt(open(&one), "a batch of another history");
    assert!(message.starts_with(&format!("{FIRST} is damaged at byte {at}: batch 2 ")), "{message}");
}

#[test]
fn a_segment_that_follows_another_one_than_it_was_begun_behind_is_refused() {
    let (files, one, other) = two_histories(6);
    assert!(files.len() > 2, "{files:?}");
    for file in &files[1..] {
        let (one, other) = (one.fork(), other.fork());
        one.set_contents(file, &other.contents(file).unwrap());
        assert_corrupt(open(&one), file);
    }
}

#[test]
fn a_write_that_went_to_another_place_is_noticed() {
    let (disk, bytes) = one_large_command();
    let mut moved = bytes.clone();
    // What was to be written a little further on.
    moved[1024..1536].copy_from_slice(&bytes[1100..1612]);
    disk.set_contents(FIRST, &moved);
    let message = assert_corrupt(open(&disk), "a misdirected write");
    assert!(message.contains("is damaged and was durable"), "{message}");
}

#[test]
fn an_old_version_of_a_sector_is_noticed() {
    let (disk, mut bytes) = one_large_command();
    bytes[1024..1536].fill(0);
    disk.set_contents(FIRST, &bytes);
    let message = assert_corrupt(open(&disk), "a lost write");
    assert!(message.contains("is damaged and was durable"), "{message}");
}

/// Changes a byte of the last batch's first record, and all checksums with it, as another version would write it.
fn rewrite_last_record(segment: &mut [u8], place_in_record: usize, value: u8) {
    let record = last_batch(segment) + 32;
    segment[record + place_in_record] = value;
    reseal_last_batch(segment);
}

#[test]
fn what_only_a_newer_version_knows_is_not_called_damage_and_stays() {
    // The kind of a record, and the kind of an entry's payload.
    for place_in_record in [16, 17 + 24] {
        let (disk, mut bytes) = one_large_command();
        rewrite_last_record(&mut bytes, place_in_record, 77);
        disk.set_contents(FIRST, &bytes);
        match open(&disk) {
            Err(StorageError::Mismatch(message)) => {
                assert!(
                    message.contains("unknown kind 77") && message.contains("newer version"),
                    "{message}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(disk.contents(FIRST).unwrap() == bytes, "the newer version finds what it wrote");
    }
}

#[test]
fn a_segment_of_another_number_is_refused() {
    let (disk, ..) = written();
    disk.set_contents(SECOND, &disk.contents(FIRST).unwrap());
    let message = assert_corrupt(open(&disk), "a copied segment");
    assert!(message.contains("it is segment 1 by its header"), "{message}");
}

#[test]
fn a_newer_format_is_not_called_damage() {
    let (disk, ..) = written();
    let mut bytes = disk.contents(FIRST).unwrap();
    bytes[8] = 9;
    reseal_header(&mut bytes);
    disk.set_contents(FIRST, &bytes);
    match open(&disk) {
        Err(StorageError::Mismatch(message)) => {
            assert!(message.contains("has format 9") && message.contains("newer version"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_recycled_segment_held_is_never_read_again() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    log.append(&first_write(1)).unwrap();
    twin.append(&first_write(1));
    log.sync().unwrap();
    for index in 1..=60 {
        // All records have one size, so old ones stand exactly where new ones would.
        let write = entries(1, [entry(1, index, 150)]);
        log.append(&write).unwrap();
        twin.append(&write);
        log.compact(GroupId(1), &meta(1, index - 1)).unwrap();
        twin.compact(1, &meta(1, index - 1));
        log.sync().unwrap();
        let disk = disk.fork();
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(open(&disk).unwrap().1, twin.groups, "after entry {index}");
    }
    let reused = disk.take_trace().iter().filter(|done| format!("{done:?}").contains("spare")).count();
    assert!(reused > 4, "segments were used again");
}

#[test]
fn reading_a_damaged_entry_back_is_an_error() {
    let (disk, ..) = written();
    let (log, _) = open(&disk).unwrap();
    let before = log.read(GroupId(1), Index(1), Index(9), usize::MAX).unwrap();
    assert_eq!(before.len(), 9);
    for offset in 200..600 {
        disk.flip_bit(FIRST, offset, 3);
    }
    match log.read(GroupId(1), Index(1), Index(9), usize::MAX) {
        Err(StorageError::Corrupt { file, .. }) => assert_eq!(file, FIRST),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_that_was_dropped_never_comes_back() {
    let (disk, before_last, whole, last_segment) = written();
    let bytes = disk.contents(&last_segment).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64;
    disk.remove(MARK).unwrap();
    disk.flip_bit(&last_segment, end, 0);
    assert_eq!(open(&disk).unwrap().1, before_last);
    // A mirrored disk may give back another copy the next time, one that was written whole.
    disk.flip_bit(&last_segment, end, 0);
    let recovered = open(&disk).unwrap().1;
    assert_eq!(recovered, before_last);
    assert_ne!(recovered, whole);
}

#[test]
fn a_dropped_batch_at_the_beginning_of_a_block_never_comes_back_either() {
    let written = |bytes| {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open_with(&disk, ODD).unwrap();
        for write in [first_write(1), entries(1, [entry(1, 1, bytes)]), entries(1, [entry(1, 2, 10)])] {
            log.append(&write).unwrap();
            log.sync().unwrap();
        }
        let at = last_batch(&disk.contents(FIRST).unwrap());
        (disk, at)
    };
    // To repair the end of the log nothing but the block before needs to be written.
    let (disk, at) = (3_000..4_000).map(written).find(|(_, at)| *at == BLOCK_BYTES).unwrap();
    let in_body = at as u64 + 100;
    disk.remove(MARK).unwrap();
    disk.flip_bit(FIRST, in_body, 0);
    let before_last = open_with(&disk, ODD).unwrap().1;
    assert_eq!(before_last[&GroupId(1)].entries.len(), 1);
    disk.flip_bit(FIRST, in_body, 0);
    assert_eq!(open_with(&disk, ODD).unwrap().1, before_last);
}

#[test]
fn an_older_record_in_the_place_of_a_newer_one_is_noticed() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&first_write(1)).unwrap();
    log.sync().unwrap();
    for term in 1..=2 {
        log.append(&entries(1, [entry(term, 1, 100)])).unwrap();
        log.sync().unwrap();
    }
    // Both entries have index 1 and one size; only the place tells that one is not the other.
    let length = 17 + 25 + 32 + 100;
    let mut bytes = disk.contents(FIRST).unwrap();
    let body_bytes = u32::try_from(length - 17).unwrap().to_le_bytes();
    let is_entry = |start: &usize| bytes[start + 16] == 1 && bytes[start + 4..start + 8] == body_bytes;
    let found: Vec<usize> = (0..bytes.len() - length).filter(is_entry).collect();
    let [old, new] = found[..] else { panic!("these are not the two entries: {found:?}") };
    bytes.copy_within(old..old + length, new);
    disk.set_contents(FIRST, &bytes);
    match log.read(GroupId(1), Index(1), Index(1), 1) {
        Err(StorageError::Corrupt { what, .. }) => assert!(what.contains("checksum"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// Linux takes the pages of a failed sync for clean: it gives back what no later sync makes durable.
#[test]
fn a_batch_whose_sync_failed_is_durable_before_a_start_tells_of_it() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open_with(&disk, ODD).unwrap();
    log.append(&first_write(1)).unwrap();
    log.sync().unwrap();
    // It takes more blocks than the one in which the log ends.
    log.append(&entries(1, [entry(1, 1, 2 * BLOCK_BYTES)])).unwrap();
    disk.fail_after(1, std::io::ErrorKind::Other);
    log.sync().unwrap_err();
    disk.crash(Crash::ProcessOnly);
    let told = open_with(&disk, ODD).unwrap().1;
    assert_eq!(told[&GroupId(1)].entries.len(), 1, "it is read back");
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(open_with(&disk, ODD).unwrap().1, told);
}

#[test]
fn after_a_failed_sync_nothing_is_ever_written_again() {
    for failing in [0, 1] {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        log.append(&first_write(1)).unwrap();
        log.sync().unwrap();
        log.append(&entries(1, [entry(1, 1, 10)])).unwrap();
        disk.fail_after(failing, std::io::ErrorKind::Other);
        log.sync().unwrap_err();
        let operations = disk.operations();
        let message = log.sync().unwrap_err().to_string();
        assert!(message.contains("an earlier write or sync failed"), "{message}");
        log.append(&entries(1, [entry(1, 1, 10)])).unwrap_err();
        log.compact(GroupId(1), &meta(1, 1)).unwrap_err();
        log.read(GroupId(1), Index(1), Index(1), 1).unwrap_err();
        assert_eq!(disk.operations(), operations, "the disk is left alone");
    }
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    disk.set_space_limit(Some(20_000));
    let (mut log, _) = open(&disk).unwrap();
    let mut twin = Twin::default();
    log.append(&first_write(1)).unwrap();
    twin.append(&first_write(1));
    let error = loop {
        let last = twin.last(1);
        let write = entries(1, [entry(1, last.index.0 + 1, 300)]);
        match log.append(&write).and_then(|()| log.sync()) {
            Ok(()) => twin.append(&write),
            Err(error) => break error,
        }
    };
    assert!(error.is_storage_full(), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    disk.crash(Crash::ProcessOnly);
    disk.set_space_limit(None);
    let (mut log, recovered) = open(&disk).unwrap();
    let mut more = twin.clone();
    let last = twin.last(1);
    more.append(&entries(1, [entry(1, last.index.0 + 1, 300)]));
    assert!([&twin.groups, &more.groups].contains(&&recovered), "nothing acknowledged is lost");
    let next = recovered[&GroupId(1)].entries.len() as u64 + 1;
    log.append(&entries(1, [entry(1, next, 300)])).unwrap();
    log.sync().unwrap();
}
