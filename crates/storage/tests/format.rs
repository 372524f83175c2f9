//! The formats stay as docs/DISK_FORMAT.md draws them: its examples are what is written, byte for byte.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use ruvector_protocol::{GroupId, Incarnation, NodeId, Write};
use ruvector_storage::{Identity, LogStore, MemberAddress, SimulatedDisk, SnapshotStore};
use support::*;

const DOCUMENT: &str = include_str!("../../../docs/DISK_FORMAT.md");

fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        write!(text, "{:04}", line * 16).unwrap();
        for (place, byte) in bytes.iter().enumerate() {
            let gap = if place == 8 { "  " } else { " " };
            write!(text, "{gap}{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn assert_documented(what: &str, bytes: &[u8]) {
    let dump = dump(bytes);
    assert!(DOCUMENT.contains(&dump), "docs/DISK_FORMAT.md must show {what} as:\n{dump}");
}

#[test]
fn the_log_is_written_as_documented() {
    let disk = SimulatedDisk::new();
    let mut log = LogStore::open(Arc::new(disk.clone()), OWNER, SMALL).unwrap();
    log.append(&Write { hard_state: Some(hard_state(1, Some(2), 0)), ..first_write(1) }).unwrap();
    log.append(&entries(1, [entry(1, 1, 0), entry(1, 2, 5)])).unwrap();
    log.sync().unwrap();
    let segment = disk.contents("log/00000000000000000001.segment").unwrap();
    let used = segment.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_documented("a log with one batch", &segment[..used.next_multiple_of(8)]);
    assert_documented("the mark of that log", &disk.contents(MARK).unwrap());
}

#[test]
fn a_snapshot_is_written_as_documented() {
    let disk = SimulatedDisk::new();
    let store = SnapshotStore::open(Arc::new(disk.clone()), OWNER).unwrap();
    let mut writer = store.create("example", GroupId(1), &meta(2, 7)).unwrap();
    writer.write_all(b"contents").unwrap();
    writer.finish().unwrap();
    assert_documented("a snapshot", &disk.contents("snapshots/example.snapshot").unwrap());
}

#[test]
fn an_identity_is_written_as_documented() {
    let disk = SimulatedDisk::new();
    let identity = Identity {
        cluster_name: "prod".to_owned(),
        cluster_id: 0x1122_3344_5566_7788,
        node_name: "node-1".to_owned(),
        node_id: NodeId(1),
        members: vec![MemberAddress {
            id: NodeId(1),
            name: "node-1".to_owned(),
            peer_address: "127.0.0.1:7401".to_owned(),
        }],
        incarnation: Incarnation(3),
        groups: Vec::new(),
    };
    identity.write(&disk).unwrap();
    assert_documented("an identity", &disk.contents("identity").unwrap());
}
