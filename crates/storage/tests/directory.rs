//! The identity file and the lock, and the parts that need a real file system.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ruvector_protocol::{GroupId, Incarnation, NodeId};
use ruvector_storage::{
    Crash, DirectoryLock, Disk, GroupMembers, Identity, LogStore, MemberAddress, RealDisk, SimulatedDisk,
    SnapshotStore, StorageError,
};
use support::*;

fn identity(incarnation: u64) -> Identity {
    let member = |id: u64| MemberAddress {
        id: NodeId(id),
        name: format!("node-{id}"),
        peer_address: format!("127.0.0.1:{}", 7400 + id),
    };
    Identity {
        cluster_name: "prod-clüster".to_owned(),
        cluster_id: 0xdead_beef_0bad_cafe,
        node_name: "node-2".to_owned(),
        node_id: NodeId(2),
        members: (1..=3).map(member).collect(),
        incarnation: Incarnation(incarnation),
        groups: vec![GroupMembers {
            id: GroupId(0xfeed),
            name: "shard-1".to_owned(),
            members: vec![NodeId(2), NodeId(3)],
        }],
    }
}

#[test]
fn an_identity_is_replaced_whole_or_not_at_all() {
    let disk = SimulatedDisk::new();
    assert_eq!(Identity::read(&disk).unwrap(), None);
    identity(1).write(&disk).unwrap();
    let operations = disk.operations();
    identity(2).write(&disk.fork()).unwrap();
    for halt in 0..=operations {
        for crash in [Crash::ProcessOnly, Crash::LoseUnsynced, Crash::Torn { seed: halt }] {
            let disk = disk.fork();
            disk.halt_after(halt);
            let done = identity(2).write(&disk).is_ok();
            disk.crash(crash);
            let found = Identity::read(&disk).unwrap().unwrap();
            assert!(found == identity(2) || (!done && found == identity(1)), "{halt} {crash:?}: {found:?}");
            identity(3).write(&disk).unwrap();
            assert_eq!(Identity::read(&disk).unwrap(), Some(identity(3)));
        }
    }
}

/// A crash may have left a longer one.
#[test]
fn an_unfinished_identity_leaves_nothing_in_the_next_one() {
    let disk = SimulatedDisk::new();
    disk.set_contents("identity.tmp", &[7; 5_000]);
    identity(1).write(&disk).unwrap();
    assert_eq!(Identity::read(&disk).unwrap(), Some(identity(1)));
}

#[test]
fn a_damaged_identity_is_refused() {
    let disk = SimulatedDisk::new();
    identity(1).write(&disk).unwrap();
    let whole = disk.contents("identity").unwrap();
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let refusal = |bytes: &[u8]| {
        disk.set_contents("identity", bytes);
        match Identity::read(&disk) {
            Err(error @ StorageError::Corrupt { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    for bytes in flipped.chain(cut) {
        let message = refusal(&bytes);
        assert!(message.contains("let it join again"), "{message}");
    }
    // It is not even read.
    assert!(refusal(&[0xff; 2 << 20]).contains("it is far too large"));
}

#[test]
fn a_directory_is_locked_until_the_lock_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/node-1");
    let lock = DirectoryLock::acquire(&path).unwrap();
    match DirectoryLock::acquire(&path) {
        Err(StorageError::Locked(held)) => assert_eq!(Path::new(&held), path),
        other => panic!("{other:?}"),
    }
    drop(lock);
    DirectoryLock::acquire(&path).unwrap();
}

#[test]
fn a_directory_is_locked_against_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let try_from_outside = || {
        let lock_file = directory.path().join("lock");
        Command::new("flock").arg("--nonblock").arg(lock_file).arg("true").status()
    };
    let lock = DirectoryLock::acquire(directory.path()).unwrap();
    // `flock` is part of util-linux; without it there is nothing to try with.
    let Ok(status) = try_from_outside() else { return };
    assert!(!status.success(), "another process got the lock");
    drop(lock);
    assert!(try_from_outside().unwrap().success());
}

#[test]
fn a_real_directory_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory.path()));
    let mut twin = Twin::default();
    {
        let _lock = DirectoryLock::acquire(directory.path()).unwrap();
        identity(4).write(&*disk).unwrap();
        let mut log = LogStore::open(Arc::clone(&disk), OWNER, SMALL).unwrap();
        assert_eq!(log.groups().count(), 0);
        log.append(&first_write(1)).unwrap();
        twin.append(&first_write(1));
        for index in 1..=100 {
            let write = entries(1, [entry(1, index, 200)]);
            log.append(&write).unwrap();
            twin.append(&write);
            if index % 25 == 0 {
                log.compact(ruvector_protocol::GroupId(1), &meta(1, index - 10)).unwrap();
                twin.compact(1, &meta(1, index - 10));
            }
            log.sync().unwrap();
        }
        let snapshots = SnapshotStore::open(Arc::clone(&disk), OWNER).unwrap();
        let mut writer = snapshots.create("mine", ruvector_protocol::GroupId(1), &meta(1, 90)).unwrap();
        std::io::Write::write_all(&mut writer, &[7; 300_000]).unwrap();
        writer.finish().unwrap();
    }
    let _lock = DirectoryLock::acquire(directory.path()).unwrap();
    assert_eq!(Identity::read(&*disk).unwrap(), Some(identity(4)));
    let log = LogStore::open(Arc::clone(&disk), OWNER, SMALL).unwrap();
    assert_eq!(log.contents().unwrap(), twin.groups);
    assert_eq!(disk.list("").unwrap(), ["identity", "lock", "log", "log-mark", "snapshots"]);
    let snapshots = SnapshotStore::open(Arc::clone(&disk), OWNER).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut snapshots.open_contents("mine").unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, [7; 300_000]);
    let on_disk: u64 = disk
        .list("log")
        .unwrap()
        .iter()
        .map(|name| std::fs::metadata(directory.path().join("log").join(name)).unwrap().len())
        .sum();
    assert_eq!(log.size_bytes(), on_disk);
}
