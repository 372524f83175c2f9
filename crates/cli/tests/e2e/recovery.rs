//! Orderly restarts, nodes that come back late, and what a put costs.

use bytes::Bytes;
use ruvector_client::{GetOptions, KeyRange, PutOptions, ReadFrom};

use crate::support::{Cluster, Load, await_condition};

#[test]
fn a_cluster_that_is_stopped_and_started_goes_on_where_it_was() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    load.await_writes(200);
    let ledger = load.finish();
    let before = cluster.await_agreement();
    cluster.stop();
    cluster.start_missing();
    let after = cluster.await_agreement();
    assert_eq!(after.revision, before.revision);
    assert_eq!(format!("{:016x}", after.cluster_id), cluster.cluster_id);
    ledger.verify(&cluster);
}

#[test]
fn a_node_comes_back_after_its_log_was_compacted_away() {
    let mut cluster = Cluster::start(3);
    let late = (cluster.leader() + 1) % 3;
    cluster.kill(&[late]);
    let load = Load::start(&cluster);
    load.await_writes(1_000);
    let ledger = load.finish();
    let others = [(late + 1) % 3, (late + 2) % 3];
    for position in others {
        let node = cluster.client().nodes().nth(position).unwrap();
        let applied = cluster.status(position).applied_index;
        let first = cluster.wait(node.compact_log(applied)).unwrap();
        assert!(first > 900, "the log of node {position} still begins at {first}");
    }
    // Not only from their logs but from their memory as well.
    cluster.kill(&others);
    cluster.start_missing();
    await_condition("the snapshot", || {
        cluster.statuses().iter().any(|(position, status)| *position == late && status.first_index > 900)
    });
    cluster.await_agreement();
    ledger.verify(&cluster);
    // What it has it has itself, and it takes part again.
    let read = GetOptions { read_from: ReadFrom::Local, count_only: true, ..GetOptions::default() };
    let alone = format!("127.0.0.1:{}", cluster.nodes[late].client.rsplit_once(':').unwrap().1);
    let count = cluster.wait(async {
        let client = ruvector_client::Client::connect([alone.as_str()]).await.unwrap();
        client.get(KeyRange::Prefix(Bytes::from_static(b"load/")), read).await.unwrap().count
    });
    assert!(count >= 1_000, "{count}");
    cluster.kill(&[(late + 1) % 3]);
    cluster.verb(&["put", "after", "all"]).succeeded();
}

#[test]
fn one_put_on_an_idle_cluster_costs_one_sync_on_each_node() {
    const PUTS: u64 = 20;
    let cluster = Cluster::start(3);
    let before = syncs(&cluster);
    for number in 0..PUTS {
        let key = Bytes::from(format!("key-{number}"));
        cluster.wait(cluster.client().put(key, Bytes::new(), PutOptions::default())).unwrap();
        // The next put must not be written along with what is left of this one.
        cluster.await_agreement();
    }
    let after = syncs(&cluster);
    let costs: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!(costs, [PUTS; 3]);
}

/// Syncs of each node so far, once all have applied the same.
fn syncs(cluster: &Cluster) -> Vec<u64> {
    cluster.await_agreement();
    cluster.statuses().iter().map(|(_, status)| status.log_syncs).collect()
}
