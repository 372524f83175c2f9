//! Files whose checksums are right and which no log would have written so: what the checksums don't show is looked at, too.
#![allow(clippy::unwrap_used)]

mod support;

use ruvector_protocol::{GroupId, Index, Write};
use ruvector_storage::{Crash, Disk, LogStore, SimulatedDisk, StorageError};
use support::forge::{last_batch, reseal_header, reseal_last_batch};
use support::*;

const FIRST: &str = "log/00000000000000000001.segment";
const SECOND: &str = "log/00000000000000000002.segment";

/// Bytes of a record in front of its body.
const RECORD_HEADER: usize = 17;

fn written(writes: &[Write]) -> (SimulatedDisk, LogStore) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for write in writes {
        log.append(write).unwrap();
        log.sync().unwrap();
    }
    (disk, log)
}

/// Changes bytes of the last batch of the first segment, at a place behind the batch's header, and makes its checksums right.
/// The mark, which knows the batch by its checksum, is taken away.
fn forge(disk: &SimulatedDisk, place: usize, bytes: &[u8]) {
    let mut segment = disk.contents(FIRST).unwrap();
    let at = last_batch(&segment) + 32 + place;
    assert_ne!(&segment[at..at + bytes.len()], bytes, "something is changed");
    segment[at..at + bytes.len()].copy_from_slice(bytes);
    reseal_last_batch(&mut segment);
    disk.set_contents(FIRST, &segment);
    disk.remove(MARK).unwrap();
}

fn refusal(disk: &SimulatedDisk) -> String {
    match open(disk) {
        Err(error @ StorageError::Corrupt { .. }) => error.to_string(),
        other => panic!("expected damage to be reported, got {other:?}"),
    }
}

/// A first segment of three batches, and a second one that has got no more than its name.
fn begun_twice() -> SimulatedDisk {
    let (disk, mut log) =
        written(&[first_write(1), entries(1, [entry(1, 1, 10)]), entries(1, [entry(1, 2, 10)])]);
    log.append(&entries(1, [entry(1, 3, 5_000)])).unwrap();
    disk.crash(Crash::LoseUnsynced);
    // It would tell, too.
    disk.remove(MARK).unwrap();
    disk
}

/// While a segment has no batch, nothing but its header tells where the one before it ended.
#[test]
fn a_segment_that_was_begun_behind_another_end_is_refused() {
    let disk = begun_twice();
    assert_eq!(open(&disk.fork()).unwrap().1[&GroupId(1)].entries.len(), 2);
    for (place, field) in [(24, "sequence number"), (32, "end of the segment before"), (40, "chain")] {
        let disk = disk.fork();
        let mut segment = disk.contents(SECOND).unwrap();
        segment[place] ^= 8;
        reseal_header(&mut segment);
        disk.set_contents(SECOND, &segment);
        let message = refusal(&disk);
        assert!(message.starts_with(FIRST), "{field}: {message}");
        assert!(message.contains(&format!("is damaged or missing: {SECOND} says")), "{field}: {message}");
    }
}

#[test]
fn the_last_batch_before_a_segment_that_was_only_begun_is_no_torn_one() {
    let disk = begun_twice();
    let at = last_batch(&disk.contents(FIRST).unwrap());
    disk.flip_bit(FIRST, at as u64 + 40, 0);
    let message = refusal(&disk);
    assert!(message.starts_with(&format!("{FIRST} is damaged at byte {at}: ")), "{message}");
}

#[test]
fn a_batch_has_nothing_behind_its_records_but_a_few_zeros() {
    let (disk, _) = written(&[first_write(1), entries(1, [entry(1, 1, 8), entry(1, 2, 8)])]);
    let record = RECORD_HEADER + 25 + 32 + 8;
    disk.remove(MARK).unwrap();
    let segment = disk.contents(FIRST).unwrap();
    let batch = last_batch(&segment);
    let body_bytes = u32::try_from(2 * record + 4).unwrap();
    assert_eq!(segment[batch + 4..batch + 8], body_bytes.to_le_bytes(), "two records, then four zeros");
    let with = |change: &dyn Fn(&mut [u8])| {
        let (disk, mut segment) = (disk.fork(), segment.clone());
        change(&mut segment[batch..]);
        reseal_last_batch(&mut segment);
        disk.set_contents(FIRST, &segment);
        disk
    };
    let one_record_less = with(&|batch| batch[24] -= 1);
    let a_byte_behind = with(&|batch| batch[32 + 2 * record + 1] = 1);
    let eight_zeros_more = with(&|batch| batch[4] += 8);
    for disk in [one_record_less, a_byte_behind, eight_zeros_more] {
        assert!(refusal(&disk).contains("batch 1 has more than its records"));
    }
}

#[test]
fn a_record_that_breaks_a_rule_of_the_log_is_refused() {
    let state = |term, vote| Write { hard_state: Some(hard_state(term, Some(vote), 0)), ..write(1) };
    let both = |index| entries(1, [entry(2, index, 10)]);
    let begun = [first_write(1), state(2, 3), both(1), both(2)];
    let (term, index, vote) = (RECORD_HEADER, RECORD_HEADER + 8, RECORD_HEADER + 9);
    for (last, place, value, message) in [
        (state(3, 1), term, 1_u64, "term 1 follows term 2"),
        (state(2, 3), vote, 1, "the vote of term 2 changes"),
        (both(3), term, 1, "entry 3 has term 1, the one before it has 2"),
        (both(3), index, 4, "entry 4 follows entry 2"),
        (both(3), index, 0, "entry 0 is not behind the base 0"),
    ] {
        let (disk, _) = written(&[&begun[..], &[last]].concat());
        forge(&disk, place, &value.to_le_bytes());
        let found = refusal(&disk);
        assert!(found.contains(message), "{message}: {found}");
    }
}

#[test]
fn a_base_that_goes_back_or_names_another_entry_is_refused() {
    let (term, index) = (RECORD_HEADER, RECORD_HEADER + 8);
    for (place, value, message) in
        [(index, 2_u64, "base 2 follows base 3"), (term, 1, "base 5 has term 1, the entry 2")]
    {
        let (disk, mut log) =
            written(&[first_write(1), entries(1, (1..=8).map(|index| entry(2, index, 10)))]);
        for base in [3, 5] {
            log.compact(GroupId(1), &meta(2, base)).unwrap();
            log.sync().unwrap();
        }
        forge(&disk, place, &value.to_le_bytes());
        let found = refusal(&disk);
        assert!(found.contains(message), "{message}: {found}");
    }
}

/// A record's checksum says where it was written, and not what belongs there.
#[test]
fn an_entry_that_is_read_back_is_the_one_that_was_asked_for() {
    let (group, index) = (8, RECORD_HEADER + 8);
    for (place, value) in [(group, 2_u64), (index, 7)] {
        let (disk, log) = written(&[first_write(1), entries(1, [entry(1, 1, 10)])]);
        assert_eq!(log.read(GroupId(1), Index(1), Index(1), 1).unwrap(), [entry(1, 1, 10)]);
        forge(&disk, place, &value.to_le_bytes());
        match log.read(GroupId(1), Index(1), Index(1), 1) {
            Err(StorageError::Corrupt { what, .. }) => {
                assert!(what.contains("entry 1 of group 1 is not where it was written"), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
}
