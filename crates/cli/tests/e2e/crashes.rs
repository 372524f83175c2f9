//! Processes killed as `kill -9` does, under load. Nothing acknowledged may be lost, nothing done twice, and
//! the nodes must agree in the end; and by the native protocol every write is acknowledged. (FAULTS 1, 15, 23)

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{Cluster, Load};

/// Writes between two events: enough that many are under way when one happens.
const WRITES: u64 = 300;

#[test]
fn the_leader_is_killed_under_load_again_and_again() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    for _ in 0..3 {
        load.await_writes(WRITES);
        cluster.kill(&[cluster.leader()]);
        load.await_writes(WRITES);
        cluster.start_missing();
    }
    let ledger = load.finish();
    cluster.await_agreement();
    ledger.verify(&cluster);
    ledger.verify_nothing_unknown();
}

#[test]
fn followers_are_killed_under_load_and_writing_goes_on() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    for round in 0..4 {
        load.await_writes(WRITES);
        let follower = (cluster.leader() + 1 + round % 2) % 3;
        cluster.kill(&[follower]);
        load.await_writes(WRITES);
        cluster.start_missing();
    }
    let ledger = load.finish();
    cluster.await_agreement();
    ledger.verify(&cluster);
    ledger.verify_nothing_unknown();
}

#[test]
fn all_nodes_are_killed_at_once_under_load() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    for _ in 0..2 {
        load.await_writes(WRITES);
        cluster.kill(&[0, 1, 2]);
        cluster.start_missing();
        load.await_writes(WRITES);
    }
    let ledger = load.finish();
    cluster.await_agreement();
    ledger.verify(&cluster);
    ledger.verify_nothing_unknown();
}

#[test]
fn a_lone_node_is_killed_under_load() {
    let mut cluster = Cluster::start(1);
    let load = Load::start(&cluster);
    for _ in 0..3 {
        load.await_writes(WRITES);
        cluster.kill(&[0]);
        cluster.start_missing();
    }
    let ledger = load.finish();
    ledger.verify(&cluster);
    ledger.verify_nothing_unknown();
}

/// The judge of the tests above is not blind.
#[test]
fn a_lost_repeated_or_changed_write_would_be_noticed() {
    let key = "load/00/00000000";
    let right = format!("the value of {key}");
    for accident in [&["del", key][..], &["put", key, &right], &["put", key, "wrong"]] {
        let cluster = Cluster::start(1);
        let load = Load::start(&cluster);
        load.await_writes(100);
        let ledger = load.finish();
        ledger.verify(&cluster);
        cluster.verb(accident).succeeded();
        let judged = catch_unwind(AssertUnwindSafe(|| ledger.verify(&cluster)));
        assert!(judged.is_err(), "{accident:?} went unnoticed");
    }
}

#[test]
fn a_majority_is_needed_and_enough() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    cluster.kill(&[(leader + 1) % 3]);
    cluster.verb(&["put", "with", "two"]).succeeded();
    cluster.kill(&[(leader + 2) % 3]);
    cluster.verb(&["quorum", "--check"]).failed_saying(&[]);
    cluster.verb(&["put", "with", "one"]).failed_saying(&[]);
    cluster.start_missing();
    cluster.await_agreement();
    cluster.verb(&["quorum", "--check"]).succeeded();
    cluster.verb(&["put", "with", "three"]).succeeded();
    assert_eq!(cluster.verb(&["get", "with", "--json"]).succeeded().matches("three").count(), 1);
}
