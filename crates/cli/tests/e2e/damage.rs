//! Files that are not what was written. A node must say where, and not start; the others go on. (FAULTS 8, 9)

use bytes::Bytes;
use ruvector_client::PutOptions;

use crate::support::{Cluster, flip_byte, run};

fn put_some(cluster: &Cluster, count: usize) {
    for number in 0..count {
        let key = Bytes::from(format!("key-{number:04}"));
        let value = Bytes::from(vec![b'x'; 1_000]);
        cluster.wait(cluster.client().put(key, value, PutOptions::default())).unwrap();
    }
}

#[test]
fn a_damaged_log_is_refused_with_its_place_and_the_others_go_on() {
    let cluster = Cluster::start(3);
    put_some(&cluster, 200);
    cluster.await_agreement();
    let node = &cluster.nodes[0];
    cluster.kill(&[0]);
    let segment = node.files("log").into_iter().next().unwrap();
    flip_byte(&segment, 50_000);
    run(&mut node.serve(&cluster.home, "e2e"), "").failed_saying(&["damaged at byte", "log"]);
    cluster.verb(&["put", "still", "here"]).succeeded();
}

#[test]
fn a_damaged_snapshot_is_refused_with_its_place() {
    let cluster = Cluster::start(3);
    put_some(&cluster, 200);
    let applied = cluster.await_agreement().group.applied_index;
    let first = cluster.client().nodes().next().unwrap();
    cluster.wait(first.compact_log(applied)).unwrap();
    let node = &cluster.nodes[0];
    cluster.kill(&[0]);
    let snapshot = node.files("snapshots").into_iter().next().unwrap();
    flip_byte(&snapshot, std::fs::metadata(&snapshot).unwrap().len() / 2);
    run(&mut node.serve(&cluster.home, "e2e"), "").failed_saying(&["damaged at byte", "snapshot"]);
    cluster.verb(&["put", "still", "here"]).succeeded();
}

#[test]
fn a_torn_tail_of_the_log_is_cut_and_the_node_goes_on() {
    let mut cluster = Cluster::start(3);
    put_some(&cluster, 50);
    let before = cluster.await_agreement();
    cluster.kill(&[0, 1, 2]);
    // What a write leaves that was cut short by a power loss: bytes behind the last record.
    let segment = cluster.nodes[0].files("log").into_iter().next().unwrap();
    let contents = std::fs::read(&segment).unwrap();
    let end = contents.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    assert!(end + 100 < contents.len() as u64, "the segment is full: {end} of {}", contents.len());
    // Behind the zeros that the last record may end with.
    flip_byte(&segment, end + 32);
    cluster.start_missing();
    assert_eq!(cluster.await_agreement().group.store().revision, before.group.store().revision);
}
