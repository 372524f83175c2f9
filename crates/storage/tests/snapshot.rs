//! Snapshot files: written, listed, sent, damaged, interrupted.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::slice;
use std::sync::Arc;

use ruvector_protocol::GroupId;
use ruvector_storage::{Crash, Disk, RealDisk, SimulatedDisk, SnapshotInfo, SnapshotStore, StorageError};
use support::{OWNER, meta};

const GROUP: GroupId = GroupId::METADATA;

fn store(disk: &SimulatedDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), OWNER).unwrap()
}

/// Contents without a period that a chunk's size could share.
fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn make(store: &SnapshotStore, name: &str, index: u64, contents: &[u8]) -> SnapshotInfo {
    let mut writer = store.create(name, GROUP, &meta(2, index)).unwrap();
    for piece in contents.chunks(70_001) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(store: &SnapshotStore, name: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open_contents(name).map_err(std::io::Error::other)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn transfer(from: &SnapshotStore, to: &SnapshotStore, info: &SnapshotInfo) -> SnapshotInfo {
    let mut receiver = to.receive(info.group, &info.meta, info.file_bytes).unwrap();
    loop {
        let piece = from.read_raw(&info.name, receiver.next_offset(), 10_007).unwrap();
        if piece.is_empty() {
            return receiver.finish().unwrap();
        }
        receiver.write(&piece).unwrap();
    }
}

#[test]
fn contents_of_any_size_come_back_as_they_were() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    for (index, bytes) in [0, 1, 262_143, 262_144, 262_145, 524_288, 1_000_000].into_iter().enumerate() {
        let name = SnapshotStore::automatic_name(GROUP, &meta(2, index as u64));
        let info = make(&store, &name, index as u64, &contents(bytes));
        assert!(info.automatic);
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(read_all(&store, &name).unwrap(), contents(bytes), "{bytes} bytes");
        assert_eq!(store.open_contents(&name).unwrap().info(), &info);
    }
    let indexes: Vec<u64> = store.list().unwrap().iter().map(|info| info.meta.position.index.0).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6], "by position");
}

#[test]
fn names_are_plain_and_used_once() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let long = "x".repeat(101);
    for name in ["", ".hidden", "../etc", "a/b", "a b", "ä", &long, "auto-1-2-99", "auto-mine"] {
        match store.create(name, GROUP, &meta(2, 5)) {
            Err(StorageError::Io { source, .. }) => {
                assert_eq!(source.kind(), ErrorKind::InvalidInput, "{name}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let first = store.create("before-upgrade", GROUP, &meta(2, 5)).unwrap();
    let refused = |name| match store.create(name, GROUP, &meta(2, 5)) {
        Err(StorageError::Io { source, .. }) => assert_eq!(source.kind(), ErrorKind::AlreadyExists),
        other => panic!("{other:?}"),
    };
    refused("before-upgrade");
    let info = first.finish().unwrap();
    assert!(!info.automatic);
    refused("before-upgrade");
    make(&store, "other", 6, b"two at a time are fine");
    store.remove("other").unwrap();
    assert_eq!(store.list().unwrap(), [info]);
    assert!(matches!(store.remove("other"), Err(StorageError::Io { .. })));
    make(&store, "other", 6, b"a removed name is free again");
}

#[test]
fn an_unfinished_snapshot_leaves_nothing() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let mut writer = store.create("dropped", GROUP, &meta(2, 5)).unwrap();
    writer.write_all(&contents(600_000)).unwrap();
    assert_eq!(disk.list("snapshots").unwrap().len(), 1);
    drop(writer);
    assert!(disk.list("snapshots").unwrap().is_empty(), "dropped");
    make(&store, "dropped", 5, b"");

    let left = store.create("left", GROUP, &meta(2, 6)).unwrap();
    disk.sync_directory("snapshots").unwrap();
    disk.crash(Crash::ProcessOnly);
    drop(left);
    disk.set_contents("snapshots/7.tmp", b"left by a crash");
    let store = self::store(&disk);
    assert_eq!(disk.list("snapshots").unwrap(), ["dropped.snapshot"], "removed at the next start");
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_crash_at_any_operation_leaves_a_whole_snapshot_or_none() {
    let run = |disk: &SimulatedDisk| -> Result<SnapshotInfo, StorageError> {
        let store = SnapshotStore::open(Arc::new(disk.clone()), OWNER)?;
        let mut writer = store.create("mine", GROUP, &meta(2, 5))?;
        writer.write_all(&contents(300_000)).map_err(|_| StorageError::Mismatch(String::new()))?;
        writer.finish()
    };
    let whole = SimulatedDisk::new();
    run(&whole).unwrap();
    let operations = whole.operations();
    for halt in 0..=operations {
        for crash in
            [Crash::ProcessOnly, Crash::LoseUnsynced, Crash::Torn { seed: 1 }, Crash::Torn { seed: 2 }]
        {
            let disk = SimulatedDisk::new();
            disk.halt_after(halt);
            let finished = run(&disk).is_ok();
            assert_eq!(finished, halt == operations);
            disk.crash(crash);
            let store = store(&disk);
            let found = store.list().unwrap();
            if finished || !found.is_empty() {
                assert_eq!(read_all(&store, "mine").unwrap(), contents(300_000), "{halt} {crash:?}");
            }
        }
    }
}

/// Whoever starts acts on the names that it sees, and a process that died may have left them in memory only.
#[test]
fn a_name_that_a_start_has_seen_is_there_after_the_power_went() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let writer = store.create("mine", GROUP, &meta(2, 5)).unwrap();
    // The trailer is written, the file synced and renamed; the name is not synced.
    disk.halt_after(3);
    writer.finish().unwrap_err();
    disk.crash(Crash::ProcessOnly);
    let seen = self::store(&disk).list().unwrap();
    assert_eq!(seen.len(), 1, "the file has its name");
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(self::store(&disk).list().unwrap(), seen);
}

#[test]
fn a_removed_snapshot_does_not_come_back() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    make(&store, "mine", 5, b"contents");
    store.remove("mine").unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(self::store(&disk).list().unwrap(), []);
}

#[test]
fn a_failed_sync_is_an_error_and_publishes_nothing() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let mut writer = store.create("mine", GROUP, &meta(2, 5)).unwrap();
    writer.write_all(b"contents").unwrap();
    disk.fail_after(2, ErrorKind::Other);
    writer.finish().unwrap_err();
    assert!(store.list().unwrap().is_empty());

    let mut writer = store.create("mine", GROUP, &meta(2, 5)).unwrap();
    disk.fail_after(0, ErrorKind::StorageFull);
    assert_eq!(writer.write_all(&contents(300_000)).unwrap_err().kind(), ErrorKind::StorageFull);
    writer.finish().unwrap_err();
    assert!(store.list().unwrap().is_empty(), "a file with a hole is never finished");
}

#[test]
fn no_flipped_bit_in_a_snapshot_is_taken_for_contents() {
    let disk = SimulatedDisk::new();
    let name = SnapshotStore::automatic_name(GROUP, &meta(2, 5));
    // The second chunk is a short one.
    let original = contents(262_144 + 40);
    let info = make(&store(&disk), &name, 5, &original);
    let file = format!("snapshots/{name}.snapshot");
    let ends = (0..200).chain(262_144..info.file_bytes).chain((200..262_144).step_by(5003));
    for offset in ends {
        let disk = disk.fork();
        assert!(disk.flip_bit(&file, offset, (offset % 8) as u8));
        let store = self::store(&disk);
        let listing = store.listing().unwrap();
        assert_eq!(listing.usable.len() + listing.unusable.len(), 1, "{offset}");
        match store.open_contents(&name) {
            Err(StorageError::Corrupt { .. }) => assert_eq!(listing.unusable[0].name, name, "{offset}"),
            Ok(mut reader) => {
                let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{offset}: {error}");
            }
            Err(other) => panic!("{offset}: {other:?}"),
        }
    }
}

#[test]
fn a_cut_or_grown_or_garbage_file_is_unusable_and_in_nobodys_way() {
    let disk = SimulatedDisk::new();
    make(&store(&disk), "mine", 5, &contents(1000));
    let other = make(&store(&disk), "other", 6, &contents(1000));
    let whole = disk.contents("snapshots/mine.snapshot").unwrap();
    let mut huge_header = whole.clone();
    huge_header[12..16].fill(0xff);
    let mut grown = whole.clone();
    grown.push(0);
    // The header and the trailer are whole, and something between them is there twice, or not at all.
    let middle = whole.len() - 600;
    let stretched = [&whole[..middle], &whole[middle - 100..]].concat();
    let shrunk = [&whole[..middle], &whole[middle + 100..]].concat();
    let mut cases = vec![huge_header, grown, stretched, shrunk, vec![], vec![0xff; 100]];
    cases.extend((0..whole.len()).step_by(7).map(|length| whole[..length].to_vec()));
    for bytes in cases {
        disk.set_contents("snapshots/mine.snapshot", &bytes);
        let store = store(&disk);
        let listing = store.listing().unwrap();
        assert_eq!(listing.usable, slice::from_ref(&other), "{} bytes", bytes.len());
        let [unusable] = &listing.unusable[..] else { panic!("{} bytes: {listing:?}", bytes.len()) };
        assert_eq!((unusable.name.as_str(), unusable.automatic), ("mine", false));
        let message = unusable.error.to_string();
        assert!(message.starts_with("snapshots/mine.snapshot is damaged at byte "), "{message}");
        assert!(store.open_contents("mine").is_err());
        assert_eq!(store.list().unwrap(), slice::from_ref(&other));
        // Its name stays taken until somebody has removed it: nobody but him knows what it was kept for.
        assert!(store.create("mine", GROUP, &meta(2, 5)).is_err());
    }
}

/// What can't be read is there all the same: it is not written over, and who lists the snapshots is told.
#[test]
fn a_file_that_the_disk_refuses_is_not_taken_for_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(Arc::new(RealDisk::new(directory.path())), OWNER).unwrap();
    // Not even root can open this one.
    std::fs::create_dir(directory.path().join("snapshots/mine.snapshot")).unwrap();
    match store.create("mine", GROUP, &meta(2, 5)) {
        Err(StorageError::Io { source, .. }) => assert_eq!(source.kind(), ErrorKind::IsADirectory),
        other => panic!("{other:?}"),
    }
    let listing = store.listing().unwrap();
    let [unusable] = &listing.unusable[..] else { panic!("{listing:?}") };
    assert_eq!(unusable.name, "mine");
}

#[test]
fn the_nodes_own_snapshot_takes_the_place_of_a_damaged_one() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let name = SnapshotStore::automatic_name(GROUP, &meta(2, 5));
    let info = make(&store, &name, 5, &contents(1000));
    disk.flip_bit(&format!("snapshots/{name}.snapshot"), 20, 0);
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(make(&store, &name, 5, &contents(1000)), info);
    assert_eq!(read_all(&store, &name).unwrap(), contents(1000));
    assert!(store.listing().unwrap().unusable.is_empty());
    store.create(&name, GROUP, &meta(2, 5)).unwrap_err();
}

#[test]
fn parts_of_two_snapshots_do_not_make_one() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    make(&store, "one", 5, &[1; 300_000]);
    make(&store, "two", 5, &[2; 300_000]);
    let (one, two) = ("snapshots/one.snapshot", "snapshots/two.snapshot");
    let original = disk.contents(one).unwrap();
    let other = disk.contents(two).unwrap();
    let trailer = original.len() - 24;
    let second_chunk = trailer - (300_000 - 262_144) - 8;
    for from in [trailer, second_chunk] {
        let mut mixed = original.clone();
        mixed[from..].copy_from_slice(&other[from..]);
        disk.set_contents(one, &mixed);
        assert_eq!(read_all(&store, "one").unwrap_err().kind(), ErrorKind::InvalidData, "mixed from {from}");
    }
}

#[test]
fn a_received_snapshot_is_the_one_that_was_sent() {
    let (ours, theirs) = (SimulatedDisk::new(), SimulatedDisk::new());
    let (from, to) = (store(&ours), store(&theirs));
    let sent = make(&from, "any-name", 5, &contents(400_000));
    let received = transfer(&from, &to, &sent);
    let name = SnapshotStore::automatic_name(GROUP, &sent.meta);
    assert_eq!(received, SnapshotInfo { name: name.clone(), automatic: true, ..sent.clone() });
    assert_eq!(transfer(&from, &to, &sent), received, "a second one replaces it");
    theirs.crash(Crash::LoseUnsynced);
    assert_eq!(read_all(&to, &name).unwrap(), contents(400_000));
    assert_eq!(theirs.list("snapshots").unwrap().len(), 1);
}

#[test]
fn a_received_snapshot_that_is_not_what_was_announced_is_removed() {
    let disk = SimulatedDisk::new();
    let source = store(&SimulatedDisk::new());
    let sent = make(&source, "mine", 5, &contents(1000));
    let good = source.read_raw("mine", 0, usize::MAX).unwrap().to_vec();
    let to = store(&disk);
    let corrupt = |group, index, bytes: &[u8], total: usize| {
        let mut receiver = to.receive(group, &meta(2, index), total as u64).unwrap();
        receiver.write(bytes).unwrap();
        match receiver.finish() {
            Err(StorageError::Corrupt { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(disk.list("snapshots").unwrap().is_empty(), "the temporary file is removed");
    };
    corrupt(GROUP, 6, &good, good.len());
    corrupt(GroupId(9), 5, &good, good.len());
    corrupt(GROUP, 5, &good[..900], good.len());
    corrupt(GROUP, 5, &good[..900], 900);
    corrupt(GROUP, 5, &[], 0);
    for at in (0..good.len()).step_by(3) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        corrupt(GROUP, 5, &damaged, good.len());
    }
    let mut receiver = to.receive(GROUP, &sent.meta, 10).unwrap();
    receiver.write(&good[..10]).unwrap();
    receiver.write(&good[10..]).unwrap_err();
}
