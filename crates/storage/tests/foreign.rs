//! Files that are whole and another node's, or another cluster's. Nobody goes on from them.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use ruvector_protocol::{GroupId, NodeId};
use ruvector_storage::{Disk, LogStore, Owner, SimulatedDisk, SnapshotInfo, SnapshotStore, StorageError};
use support::*;

const NEIGHBOUR: Owner = Owner { node: NodeId(2), ..OWNER };
const NAMESAKE: Owner = Owner { cluster_id: 99, ..OWNER };
const SNAPSHOT: &str = "snapshots/mine.snapshot";

/// A data directory with a log of several segments and a snapshot, all of one owner, and the same whoever that is.
fn directory_of(owner: Owner) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut log = LogStore::open(Arc::new(disk.clone()), owner, SMALL).unwrap();
    log.append(&first_write(1)).unwrap();
    for index in 1..=8 {
        log.append(&entries(1, [entry(1, index, 1000)])).unwrap();
        log.sync().unwrap();
    }
    make(&SnapshotStore::open(Arc::new(disk.clone()), owner).unwrap(), "mine");
    disk
}

fn make(store: &SnapshotStore, name: &str) -> SnapshotInfo {
    let mut writer = store.create(name, GroupId(1), &meta(1, 5)).unwrap();
    writer.write_all(&[7; 300_000]).unwrap();
    writer.finish().unwrap()
}

fn open_all(disk: &SimulatedDisk) -> Result<(), StorageError> {
    LogStore::open(Arc::new(disk.clone()), OWNER, SMALL)?;
    SnapshotStore::open(Arc::new(disk.clone()), OWNER).map(drop)
}

fn assert_foreign(outcome: Result<(), StorageError>, file: &str, owner: Owner) {
    let whose = if owner == NAMESAKE { "another cluster" } else { "another node of this cluster" };
    match outcome {
        Err(error @ StorageError::Foreign { .. }) => {
            let message = error.to_string();
            assert!(message.starts_with(&format!("{file} belongs to {whose} (")), "{message}");
            assert!(message.contains("data directory"), "says what to do: {message}");
        }
        other => panic!("{file} of {owner:?}: {other:?}"),
    }
}

#[test]
fn each_file_of_another_node_or_cluster_is_refused() {
    for owner in [NEIGHBOUR, NAMESAKE] {
        let (own, foreign) = (directory_of(OWNER), directory_of(owner));
        open_all(&own.fork()).unwrap();
        let segments = own.list("log").unwrap().into_iter().map(|name| format!("log/{name}"));
        for file in segments.chain([MARK.to_owned(), SNAPSHOT.to_owned()]) {
            let disk = own.fork();
            disk.set_contents(&file, &foreign.contents(&file).unwrap());
            assert_foreign(open_all(&disk), &file, owner);
        }
    }
}

#[test]
fn the_whole_log_of_another_is_refused_and_left_as_it_is() {
    for owner in [NEIGHBOUR, NAMESAKE] {
        let (own, foreign) = (directory_of(OWNER), directory_of(owner));
        let names = foreign.list("log").unwrap();
        assert_eq!(own.list("log").unwrap(), names);
        let put_foreign = |disk: &SimulatedDisk| {
            for name in &names {
                let file = format!("log/{name}");
                disk.set_contents(&file, &foreign.contents(&file).unwrap());
            }
        };
        let first = format!("log/{}", names[0]);
        let (with_mark, without) = (own.fork(), own.fork());
        without.remove(MARK).unwrap();
        for disk in [with_mark, without] {
            put_foreign(&disk);
            assert_foreign(open_all(&disk), &first, owner);
            for name in &names {
                let file = format!("log/{name}");
                assert!(disk.contents(&file) == foreign.contents(&file), "{file} was changed");
            }
        }
    }
}

/// Nothing of a batch is valid under another owner's header, not even if somebody corrects the header.
#[test]
fn a_header_of_ones_own_does_not_make_the_batches_of_another_ones_own() {
    let (own, foreign) = (directory_of(OWNER), directory_of(NEIGHBOUR));
    let first = "log/00000000000000000001.segment";
    let mut bytes = foreign.contents(first).unwrap();
    bytes[..64].copy_from_slice(&own.contents(first).unwrap()[..64]);
    own.set_contents(first, &bytes);
    assert!(matches!(open_all(&own), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_received_snapshot_becomes_the_receivers_own() {
    let (theirs, ours) = (directory_of(NEIGHBOUR), SimulatedDisk::new());
    let from = SnapshotStore::open(Arc::new(theirs.clone()), NEIGHBOUR).unwrap();
    let to = SnapshotStore::open(Arc::new(ours.clone()), OWNER).unwrap();
    let sent = from.list().unwrap().remove(0);
    let received = transfer(&from, &to, &sent).unwrap();
    // It is the receiver's from the moment that it has its name, so a start takes it, and its turn as a sender comes.
    let to = SnapshotStore::open(Arc::new(ours.fork()), OWNER).unwrap();
    let mut contents = Vec::new();
    to.open_contents(&received.name).unwrap().read_to_end(&mut contents).unwrap();
    assert_eq!(contents, [7; 300_000]);
    let third = Owner { node: NodeId(3), ..OWNER };
    let third = SnapshotStore::open(Arc::new(SimulatedDisk::new()), third).unwrap();
    assert_eq!(transfer(&to, &third, &received).unwrap(), received);
}

#[test]
fn a_snapshot_from_another_cluster_is_not_received() {
    let (theirs, ours) = (directory_of(NAMESAKE), SimulatedDisk::new());
    let from = SnapshotStore::open(Arc::new(theirs), NAMESAKE).unwrap();
    let to = SnapshotStore::open(Arc::new(ours.clone()), OWNER).unwrap();
    let sent = from.list().unwrap().remove(0);
    assert_foreign(transfer(&from, &to, &sent).map(drop), "snapshots/1.tmp", NAMESAKE);
    assert!(ours.list("snapshots").unwrap().is_empty(), "the temporary file is removed");
}

fn transfer(
    from: &SnapshotStore,
    to: &SnapshotStore,
    info: &SnapshotInfo,
) -> Result<SnapshotInfo, StorageError> {
    let mut receiver = to.receive(info.group, &info.meta, info.file_bytes)?;
    while receiver.next_offset() < info.file_bytes {
        let piece = from.read_raw(&info.name, receiver.next_offset(), 100_000)?;
        receiver.write(&piece)?;
    }
    receiver.finish()
}

/// Two clusters may have come to the same place with other contents.
#[test]
fn chunks_of_another_clusters_snapshot_are_refused() {
    let (own, foreign) = (directory_of(OWNER), directory_of(NAMESAKE));
    let mut mixed = foreign.contents(SNAPSHOT).unwrap();
    let header_bytes = 16 + 8 + 8 + 28 + 3 * 8 + 4 + 12;
    mixed[..header_bytes].copy_from_slice(&own.contents(SNAPSHOT).unwrap()[..header_bytes]);
    own.set_contents(SNAPSHOT, &mixed);
    let store = SnapshotStore::open(Arc::new(own), OWNER).unwrap();
    let error = store.open_contents("mine").unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_snapshot_of_anybody_can_be_read_for_something_new_and_nothing_is_changed_there() {
    let disk = directory_of(NEIGHBOUR);
    disk.set_contents("snapshots/7.tmp", b"of the node that runs there");
    let before = (disk.operations(), disk.list("snapshots").unwrap());
    let mut contents = Vec::new();
    let mut reader = SnapshotStore::open_contents_of_any(&disk, "mine").unwrap();
    assert_eq!(reader.info().meta, meta(1, 5));
    reader.read_to_end(&mut contents).unwrap();
    assert_eq!(contents, [7; 300_000]);
    assert_eq!((disk.operations(), disk.list("snapshots").unwrap()), before);
}

/// While a node runs nothing is ruined by a file that somebody puts there; it just can't be used.
#[test]
fn a_foreign_snapshot_that_appears_later_is_listed_as_unusable() {
    let (own, foreign) = (directory_of(OWNER), directory_of(NEIGHBOUR));
    let store = SnapshotStore::open(Arc::new(own.clone()), OWNER).unwrap();
    own.set_contents("snapshots/theirs.snapshot", &foreign.contents(SNAPSHOT).unwrap());
    let listing = store.listing().unwrap();
    assert_eq!(listing.usable.len(), 1);
    assert_eq!(listing.unusable.len(), 1);
    assert_eq!(listing.unusable[0].name, "theirs");
    assert!(matches!(listing.unusable[0].error, StorageError::Foreign { .. }));
    assert!(matches!(store.open_contents("theirs"), Err(StorageError::Foreign { .. })));
}
