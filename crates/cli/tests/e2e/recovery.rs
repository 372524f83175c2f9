//! Orderly restarts, nodes that come back late, and what a put costs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ruvector_client::{Client, GetOptions, KeyRange, NodeStatus, PutOptions, ReadFrom, Watch, WatchOptions};

use crate::support::{Background, Cluster, Ledger, Load, await_condition, await_some};

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
    assert_eq!(after.group.store().revision, before.group.store().revision);
    assert_eq!(after.cluster.id.to_string(), cluster.cluster_id);
    ledger.verify(&cluster);
}

#[test]
fn a_node_comes_back_after_its_log_was_compacted_away() {
    let mut cluster = Cluster::start(3);
    let (late, ledger) = bring_back_by_snapshot(&mut cluster);
    ledger.verify(&cluster);
    // What it has it has itself, and it takes part again.
    let read = GetOptions { read_from: ReadFrom::Local, count_only: true, ..GetOptions::default() };
    let count = cluster.wait(async {
        let client = client_of_one(&cluster, late).await;
        client.get(KeyRange::Prefix(Bytes::from_static(b"load/")), read).await.unwrap().count
    });
    assert!(count >= 1_000, "{count}");
    cluster.kill(&[(late + 1) % 3]);
    cluster.verb(&["put", "after", "all"]).succeeded();
}

#[test]
fn a_watch_is_resumed_on_a_node_that_has_installed_a_snapshot() {
    let mut cluster = Cluster::start(3);
    let (late, _) = bring_back_by_snapshot(&mut cluster);
    let last = cluster.await_agreement().group.store().revision;
    let revisions = cluster.wait(async {
        let client = client_of_one(&cluster, late).await;
        revisions_told(&mut watch_from(&client, 2).await, last).await
    });
    // The load writes one key a revision: each is told, once, in order.
    assert_eq!(revisions, (2..=last).collect::<Vec<_>>());
}

#[test]
fn a_watch_on_a_node_that_lags_waits_for_its_revision() {
    let cluster = Cluster::start(3);
    let late = (cluster.leader() + 1) % 3;
    let others = [(late + 1) % 3, (late + 2) % 3];
    cluster.kill(&[late]);
    let load = Load::start(&cluster);
    load.await_writes(1_000);
    load.finish();
    // Of what the late node has missed a part can't be told any more, but not what is waited for.
    let first = cluster.status(others[0]).group.store().revision - 100;
    cluster.wait(cluster.client().compact(first - 300)).unwrap();
    let mut last = first;
    for number in 0..300 {
        let key = Bytes::from(format!("load/later/{number}"));
        last = cluster.wait(cluster.client().put(key, Bytes::new(), PutOptions::default())).unwrap().revision;
    }

    cluster.pause(&others);
    let (_late, _) = Background::start(&mut cluster.nodes[late].serve(&cluster.home, "e2e"));
    await_condition("the late node alone", || {
        cluster.wait(cluster.client().nodes().nth(late).unwrap().status()).is_ok()
    });
    assert!(cluster.status(late).group.store().revision < first - 300, "it does not lag");
    let revisions = cluster.wait(async {
        let client = client_of_one(&cluster, late).await;
        let mut watch = watch_from(&client, first).await;
        cluster.go_on(&others);
        revisions_told(&mut watch, last).await
    });
    assert_eq!(revisions, (first..=last).collect::<Vec<_>>());
}

async fn watch_from(client: &Client, revision: i64) -> Watch {
    let options = WatchOptions { start_revision: Some(revision), ..WatchOptions::default() };
    client.watch(KeyRange::Prefix(Bytes::new()), options).await.unwrap()
}

/// The revision of each event until that of `last`.
async fn revisions_told(watch: &mut Watch, last: i64) -> Vec<i64> {
    let mut revisions = Vec::new();
    while revisions.last().is_none_or(|revision| *revision < last) {
        let batch = watch.next().await.unwrap();
        revisions.extend(batch.events.iter().map(|event| event.key_value.mod_revision));
    }
    revisions
}

/// Has a node come back so late that it has to be sent a snapshot. Returns it, and what was acknowledged.
fn bring_back_by_snapshot(cluster: &mut Cluster) -> (usize, Ledger) {
    let late = (cluster.leader() + 1) % 3;
    cluster.kill(&[late]);
    let load = Load::start(cluster);
    load.await_writes(1_000);
    let ledger = load.finish();
    let others = [(late + 1) % 3, (late + 2) % 3];
    for position in others {
        let node = cluster.client().nodes().nth(position).unwrap();
        let applied = cluster.status(position).group.applied_index;
        let first = cluster.wait(node.compact_log(applied)).unwrap();
        assert!(first > 900, "the log of node {position} still begins at {first}");
    }
    // Not only from their logs but from their memory as well.
    cluster.kill(&others);
    cluster.start_missing();
    await_condition("the snapshot", || {
        cluster
            .statuses()
            .iter()
            .any(|(position, status)| *position == late && status.group.first_index > 900)
    });
    cluster.await_agreement();
    (late, ledger)
}

/// A client that knows one node only.
async fn client_of_one(cluster: &Cluster, position: usize) -> Client {
    let port = cluster.nodes[position].client.rsplit_once(':').unwrap().1;
    Client::connect([format!("127.0.0.1:{port}").as_str()]).await.unwrap()
}

#[test]
fn one_put_on_an_idle_cluster_costs_one_sync_on_each_node() {
    const PUTS: u64 = 20;
    /// A leader tells what it remembers of the others at most so often, and each node writes down what is news: ten heartbeat
    /// intervals.
    const REMINDED: Duration = Duration::from_millis(300);
    let cluster = Cluster::start(3);
    // The client's first write opens its session.
    cluster.wait(cluster.client().put("first", Bytes::new(), PutOptions::default())).unwrap();
    // The leader proposes how long history is kept a while after it was elected.
    await_some("how long history is kept, on all nodes", || {
        let kept = |status: &NodeStatus| status.group.store().retention.age_ms.is_some();
        let statuses = cluster.statuses();
        (statuses.len() == 3 && statuses.iter().all(|(_, status)| kept(status))).then_some(())
    });
    let (before, begun) = (syncs(&cluster), Instant::now());
    for number in 0..PUTS {
        let key = Bytes::from(format!("key-{number}"));
        cluster.wait(cluster.client().put(key, Bytes::new(), PutOptions::default())).unwrap();
        // The next put must not be written along with what is left of this one.
        cluster.await_agreement();
    }
    let after = syncs(&cluster);
    let reminders = begun.elapsed().as_millis() / REMINDED.as_millis() + 1;
    for (after, before) in after.iter().zip(&before) {
        let cost = u128::from(after - before);
        let allowed = u128::from(PUTS)..=u128::from(PUTS) + reminders;
        assert!(allowed.contains(&cost), "{cost} syncs for {PUTS} puts and at most {reminders} reminders");
    }
}

/// Syncs of each node so far, once all have applied the same.
fn syncs(cluster: &Cluster) -> Vec<u64> {
    cluster.await_agreement();
    cluster.statuses().iter().map(|(_, status)| status.log_syncs).collect()
}
