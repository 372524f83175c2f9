//! The simulated disk loses what a real one may lose, and nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::ErrorKind;

use ruvector_storage::disk::BLOCK_BYTES;
use ruvector_storage::disk::simulated::{Operation, SECTOR_BYTES};
use ruvector_storage::{Crash, Disk, SimulatedDisk};

/// A disk with one durable file of `a`s, over which `b`s were written and not synced.
fn overwritten(sectors: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut file = disk.open("file", true).unwrap();
    file.write_at(&vec![b'a'; sectors * SECTOR_BYTES], 0).unwrap();
    file.sync().unwrap();
    disk.sync_directory("").unwrap();
    file.write_at(&vec![b'b'; sectors * SECTOR_BYTES], 0).unwrap();
    disk
}

#[test]
fn only_the_power_takes_what_was_not_synced() {
    let disk = overwritten(2);
    disk.crash(Crash::ProcessOnly);
    assert_eq!(disk.contents("file").unwrap(), [b'b'; 1024]);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.contents("file").unwrap(), [b'a'; 1024], "it had never become durable");
}

#[test]
fn any_subset_of_sectors_may_survive_and_each_is_whole() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = overwritten(3);
        disk.crash(Crash::Torn { seed });
        let contents = disk.contents("file").unwrap();
        let sectors: Vec<u8> = contents.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        assert!(contents.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
        seen.insert(sectors);
        let again = overwritten(3);
        again.crash(Crash::Torn { seed });
        assert_eq!(again.contents("file").unwrap(), contents, "the seed decides");
    }
    assert_eq!(seen.len(), 8, "all subsets come up: {seen:?}");
}

#[test]
fn names_are_durable_with_their_directory_and_not_before() {
    let disk = SimulatedDisk::new();
    disk.create_directory("directory").unwrap();
    let mut file = disk.open("directory/old", true).unwrap();
    file.write_at(b"contents", 0).unwrap();
    file.sync().unwrap();
    let synced = || {
        let disk = disk.fork();
        disk.sync_directory("directory").unwrap();
        disk
    };
    let lost = synced();
    lost.crash(Crash::LoseUnsynced);
    assert_eq!(lost.contents("directory/old"), None, "the directory's own name was not durable");
    disk.sync_directory("").unwrap();
    let kept = synced();
    kept.rename("directory/old", "directory/new").unwrap();
    let unsynced = kept.fork();
    unsynced.crash(Crash::LoseUnsynced);
    assert_eq!(unsynced.list("directory").unwrap(), ["old"]);
    kept.sync_directory("directory").unwrap();
    kept.remove("directory/new").unwrap();
    assert!(kept.list("directory").unwrap().is_empty());
    kept.crash(Crash::LoseUnsynced);
    assert_eq!(kept.contents("directory/new").unwrap(), b"contents", "a removal can be lost too");
}

#[test]
fn handles_die_with_the_machine() {
    let disk = SimulatedDisk::new();
    let mut file = disk.open("file", true).unwrap();
    disk.crash(Crash::ProcessOnly);
    file.write_at(b"late", 0).unwrap_err();
    file.sync().unwrap_err();
    file.read_at(&mut [0], 0).unwrap_err();
    assert_eq!(disk.contents("file").unwrap(), b"");
}

#[test]
fn a_halted_disk_refuses_everything_until_the_crash() {
    let disk = SimulatedDisk::new();
    let mut file = disk.open("file", true).unwrap();
    disk.halt_after(1);
    file.write_at(b"last", 0).unwrap();
    file.sync().unwrap_err();
    disk.list("").unwrap_err();
    disk.open("file", false).unwrap_err();
    disk.sync_directory("").unwrap_err();
    disk.crash(Crash::ProcessOnly);
    assert_eq!(disk.contents("file").unwrap(), b"last");
    disk.sync_directory("").unwrap();
}

#[test]
fn a_failed_sync_forgets_what_it_should_have_made_durable() {
    let disk = overwritten(1);
    let mut file = disk.open("file", false).unwrap();
    disk.fail_after(0, ErrorKind::Other);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.contents("file").unwrap(), [b'b'; 512], "it can still be read");
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.contents("file").unwrap(), [b'a'; 512], "the second sync made nothing durable");
}

#[test]
fn space_counting_and_the_trace_tell_what_was_done() {
    let disk = SimulatedDisk::new();
    disk.set_space_limit(Some(1000));
    let mut file = disk.open("file", true).unwrap();
    file.write_at(&[1; 900], 0).unwrap();
    assert_eq!(file.write_at(&[2; 200], 850).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(&[3; 900], 0).unwrap();
    assert_eq!(file.set_size(1001).unwrap_err().kind(), ErrorKind::StorageFull);
    file.sync().unwrap();
    assert_eq!((disk.operations(), disk.file_syncs()), (6, 1));
    let name = || "file".to_owned();
    let write = |offset, bytes| Operation::Write { file: name(), offset, bytes };
    let size = Operation::SetSize { file: name(), bytes: 1001 };
    let expected = [
        Operation::Create(name()),
        write(0, 900),
        write(850, 200),
        write(0, 900),
        size,
        Operation::Sync(name()),
    ];
    assert_eq!(disk.take_trace(), expected);
    assert!(disk.take_trace().is_empty());
    assert!(!disk.flip_bit("file", 900, 0), "there is no such byte");
    assert!(!disk.flip_bit("other", 0, 0), "there is no such file");
}

#[test]
fn an_append_writes_whole_blocks_with_what_was_before_it_and_zeros_behind() {
    let disk = SimulatedDisk::new();
    disk.set_contents("file", &[b'o'; 3 * BLOCK_BYTES]);
    let mut file = disk.open("file", false).unwrap();
    file.append_at(b"appended", 5, 100).unwrap();
    let mut expected = vec![b'o'; 3 * BLOCK_BYTES];
    expected[100..108].copy_from_slice(b"appended");
    expected[108..BLOCK_BYTES].fill(0);
    assert_eq!(disk.contents("file").unwrap(), expected);
    file.append_at(b"x", BLOCK_BYTES, 2 * BLOCK_BYTES as u64 + 7).unwrap();
    expected[2 * BLOCK_BYTES + 7] = b'x';
    expected[2 * BLOCK_BYTES + 8..].fill(0);
    expected.resize(4 * BLOCK_BYTES, 0);
    assert_eq!(disk.contents("file").unwrap(), expected, "the file grows by whole blocks");
    file.append_at(&[], 0, 9 * BLOCK_BYTES as u64 + 7).unwrap();
    assert_eq!(disk.contents("file").unwrap(), expected, "nothing is written for nothing");
    // Bytes behind the end of the file are zeros.
    file.append_at(b"y", 0, 5 * BLOCK_BYTES as u64 + 1).unwrap();
    expected.resize(6 * BLOCK_BYTES, 0);
    expected[5 * BLOCK_BYTES + 1] = b'y';
    assert_eq!(disk.contents("file").unwrap(), expected);
    let write = |offset, bytes| Operation::Write { file: "file".to_owned(), offset, bytes };
    let trace = disk.take_trace();
    assert_eq!(
        trace[..2],
        [write(100, 8), write(2 * BLOCK_BYTES as u64 + 7, 1)],
        "told is what was asked for"
    );
}

#[test]
fn a_torn_append_takes_nothing_away_that_was_durable_in_its_block() {
    let durable: Vec<u8> = (0..3 * BLOCK_BYTES).map(|at| (at % 251) as u8 + 1).collect();
    let mut lost = BTreeSet::new();
    for seed in 0..100 {
        for end in
            [1, SECTOR_BYTES - 1, SECTOR_BYTES, 3 * SECTOR_BYTES + 17, BLOCK_BYTES + 1, 2 * BLOCK_BYTES]
        {
            let disk = SimulatedDisk::new();
            let mut file = disk.open("file", true).unwrap();
            disk.sync_directory("").unwrap();
            file.append_at(&durable[..end], 10, 0).unwrap();
            file.sync().unwrap();
            // Two of them: the second writes what the first had not made durable yet.
            file.append_at(&[b'a'; 700], 0, end as u64).unwrap();
            file.append_at(&[b'b'; 900], 0, end as u64 + 700).unwrap();
            disk.crash(Crash::Torn { seed });
            let contents = disk.contents("file").unwrap();
            assert_eq!(contents[..end], durable[..end], "seed {seed}, {end} bytes were durable");
            lost.insert(contents.get(end) != Some(&b'a'));
        }
    }
    assert_eq!(lost.len(), 2, "what was not durable is there or not");
}

#[test]
fn the_rest_of_a_files_last_block_takes_no_space() {
    let disk = SimulatedDisk::new();
    let mut file = disk.open("file", true).unwrap();
    file.write_at(&[1; 100], 0).unwrap();
    disk.set_space_limit(Some(100));
    file.append_at(&[2; 100], 0, 100).unwrap();
    let error = file.append_at(&[3; 1], 0, BLOCK_BYTES as u64).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.contents("file").unwrap().len(), BLOCK_BYTES);
    disk.set_space_limit(Some(2 * BLOCK_BYTES as u64));
    file.append_at(&[3; 1], 0, BLOCK_BYTES as u64).unwrap();
}
