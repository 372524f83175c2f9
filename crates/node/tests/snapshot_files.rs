//! Snapshot files that are damaged, or that lie there and are not in use.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use group::{CLUSTER, FIRST, Group, SECOND};
use recorder::Recorder;
use ruvector_node::replica::{Event, ReplicaError, Ticket};
use ruvector_node::{NodeId, StorageError, Tuning};
use ruvector_protocol::{ClusterTime, GroupId, Index, LogPosition, Membership, SnapshotMeta, Term};
use ruvector_storage::{Disk, Owner, SnapshotStore};

const NAMED: &str = "snapshots/before-upgrade.snapshot";

fn started() -> Group<Recorder> {
    let mut group = Group::start(&Tuning { snapshot_entries: 10, retained_entries: 1, ..Tuning::default() });
    group.elect(FIRST, |_| false);
    propose(&mut group, 0..50);
    group
}

fn propose(group: &mut Group<Recorder>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        group.deliver(|_| false);
    }
}

/// The files of the node's own snapshots, the newest last.
fn own_files(group: &Group<Recorder>, node: NodeId) -> Vec<String> {
    let names = group.disk(node).list("snapshots").unwrap().into_iter();
    let mut files: Vec<_> = names.filter(|name| name.starts_with("auto-")).collect();
    files.sort_by_key(|name| (name.len(), name.clone()));
    files.into_iter().map(|name| format!("snapshots/{name}")).collect()
}

#[test]
fn snapshots_that_were_received_and_not_installed_take_the_place_of_none() {
    let mut group = started();
    // What a transfer leaves whose leader is replaced before the core has heard of it.
    let owner = Owner { cluster_id: CLUSTER, node: SECOND };
    let store = SnapshotStore::open(Arc::new(group.disk(SECOND).clone()), owner).unwrap();
    for index in [1_000, 2_000, 3_000] {
        let meta = SnapshotMeta {
            position: LogPosition { term: Term(1), index: Index(index) },
            time: ClusterTime(0),
            membership: Membership::default(),
        };
        let name = SnapshotStore::automatic_name(GroupId::METADATA, &meta);
        let mut writer = store.create(&name, GroupId::METADATA, &meta).unwrap();
        writer.write_all(b"anything").unwrap();
        writer.finish().unwrap();
    }
    propose(&mut group, 50..100);
    let newest = group.replica(SECOND).newest_snapshot().unwrap();
    assert!(newest > Index(50), "snapshots were taken since: {newest}");
    // Nobody could start on those that are ahead of its log.
    group.restart(SECOND, 2);
    assert_eq!(group.replica(SECOND).newest_snapshot(), Some(newest));
    group.heartbeat(FIRST, |_| false);
    assert_eq!(group.replica(SECOND).view().len(), 100);
}

#[test]
fn a_damaged_snapshot_that_nobody_needs_stops_neither_a_running_node_nor_a_start() {
    let mut group = started();
    group.handle(SECOND, Event::CreateSnapshot { ticket: Ticket(999), name: "before-upgrade".to_owned() });
    // In the header, so that not even to whom it belongs is known.
    assert!(group.disk(SECOND).flip_bit(NAMED, 20, 0));
    // While the node runs, it looks at its snapshots whenever it has taken one.
    let before = group.replica(SECOND).newest_snapshot();
    propose(&mut group, 50..100);
    assert!(group.replica(SECOND).newest_snapshot() > before, "snapshots are taken as ever");
    group.restart(SECOND, 2);
    group.heartbeat(FIRST, |_| false);
    assert_eq!(group.replica(SECOND).view().len(), 100);

    let listing = group.replica(SECOND).snapshots().unwrap();
    assert!(!listing.usable.is_empty());
    let [unusable] = &listing.unusable[..] else { panic!("{listing:?}") };
    assert_eq!(unusable.name, "before-upgrade");
    assert!(unusable.error.to_string().contains("is damaged at byte 0"), "{}", unusable.error);
    assert!(group.disk(SECOND).contents(NAMED).is_some(), "it is left to whoever made it");
}

#[test]
fn a_start_passes_over_a_damaged_header_only_as_far_as_the_log_suffices() {
    let mut group = started();
    let owns = own_files(&group, SECOND);
    assert_eq!(owns.len(), 2, "{owns:?}");
    // The log begins behind the older one, or later: without both there is nothing before it.
    for file in &owns {
        assert!(group.disk(SECOND).flip_bit(file, 20, 0));
    }
    let Err(error) = group.try_restart(SECOND, 2) else {
        panic!("started without what the log begins behind")
    };
    assert!(matches!(error, ReplicaError::Storage(StorageError::Corrupt { .. })), "{error:?}");
    assert!(owns.iter().any(|file| error.to_string().starts_with(file.as_str())), "{error}");
}
