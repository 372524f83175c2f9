//! Disks that were replaced: by empty ones, and by older copies of themselves. (FAULTS 11, 12)

use std::fs;
use std::path::Path;

use bytes::Bytes;
use ruvector_client::{Client, NodeStatus, PutOptions, Role};

use crate::support::{Background, Cluster, Load, await_condition, await_some, run};

#[test]
fn a_node_whose_disk_was_lost_gets_everything_from_the_leader_that_knew_it() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster);
    load.await_writes(300);
    let ledger = load.finish();
    cluster.await_agreement();
    let leader = cluster.leader();
    let bare = (leader + 1) % 3;
    // It proposed commands of its own, whose numbers must not be mistaken for those that it proposes later.
    put_at(&cluster, bare, "before", 20);
    cluster.kill(&[bare]);
    fs::remove_dir_all(&cluster.nodes[bare].data_dir).unwrap();
    // A directory that is gone may be a disk that is not mounted: an empty one is somebody's decision.
    cluster.verb(&["start"]).failed_saying(&["has lost its data directory", "make an empty one"]);
    fs::create_dir(&cluster.nodes[bare].data_dir).unwrap();
    cluster.start_missing();
    cluster.await_agreement();
    assert_eq!(cluster.leader(), leader, "the leader that remembers it still leads");
    put_at(&cluster, bare, "after", 20);
    ledger.verify(&cluster);
    let keys = cluster.verb(&["get", "after-", "--prefix", "--keys-only"]).succeeded();
    assert_eq!(keys.lines().filter(|line| line.contains("after-")).count(), 20, "{keys}");
}

/// The other two could be all who know what the third forgot, so one of them is not enough.
#[test]
fn a_node_whose_disk_was_lost_neither_votes_nor_counts_before_it_heard_all_others() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (bare, down) = ((leader + 1) % 3, (leader + 2) % 3);
    put_at(&cluster, leader, "before", 20);
    cluster.kill(&[bare, down]);
    let node = &cluster.nodes[bare];
    fs::remove_dir_all(&node.data_dir).unwrap();
    let nodes: Vec<String> = cluster.nodes.iter().map(|node| format!("{}={}", node.id, node.peer)).collect();
    let mut serve = node.serve(&cluster.home, "e2e");
    let (forgetful, _) = Background::start(serve.args(["--initial-nodes", &nodes.join(",")]));
    let waits = |status: &NodeStatus| {
        let others = status.members.iter().filter(|member| member.name == cluster.nodes[down].id);
        status.group.role == Role::Newcomer
            && status.group.unheard.iter().map(|node| node.id).eq(others.map(|member| member.id))
    };
    let is_waiting = |statuses: Vec<(usize, NodeStatus)>| {
        let is_led = statuses.iter().any(|(_, status)| status.leads());
        !is_led && statuses.iter().any(|(position, status)| *position == bare && waits(status))
    };
    await_condition("the newcomer to wait", || is_waiting(cluster.statuses()));
    let awaited = format!("must hear {} first", cluster.nodes[down].id);
    cluster.verb(&["leader"]).failed_saying(&["nobody leads", "newcomer", &awaited]);

    drop(forgetful);
    cluster.start_missing();
    cluster.await_agreement();
    let keys = cluster.verb(&["get", "before-", "--prefix", "--keys-only"]).succeeded();
    assert_eq!(keys.lines().filter(|line| line.contains("before-")).count(), 20, "{keys}");
    assert!(cluster.nodes[bare].log().contains("this node votes and counts from now on"));
}

#[test]
fn a_node_on_an_old_copy_of_its_disk_stops_and_says_why() {
    let mut cluster = Cluster::start(3);
    let old = (cluster.leader() + 1) % 3;
    put_at(&cluster, old, "before", 50);
    cluster.await_agreement();
    cluster.kill(&[old]);
    let directory = cluster.nodes[old].data_dir.clone();
    let copy = directory.with_extension("copy");
    copy_directory(&directory, &copy);
    cluster.start_missing();
    put_at(&cluster, old, "after", 50);
    cluster.await_agreement();

    cluster.kill(&[old]);
    fs::remove_dir_all(&directory).unwrap();
    fs::rename(&copy, &directory).unwrap();
    let node = &cluster.nodes[old];
    run(&mut node.serve(&cluster.home, "e2e"), "")
        .failed_saying(&["had acknowledged entries through index", "older copy"]);
    cluster.verb(&["put", "still", "here"]).succeeded();

    // As it says: without the copy it gets everything.
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    cluster.start_missing();
    cluster.await_agreement();
}

/// Files that are whole in themselves: the node would go on from what another had promised, or from what it had itself
/// promised before.
#[test]
fn a_node_refuses_the_log_of_another_and_a_log_without_its_end() {
    let mut cluster = Cluster::start(3);
    put_at(&cluster, 0, "before", 100);
    cluster.await_agreement();
    cluster.kill(&[0, 1]);
    let own = cluster.nodes[0].data_dir.join("log");
    let kept = own.with_extension("kept");
    fs::rename(&own, &kept).unwrap();
    let refuses = |cluster: &Cluster, why: &[&str]| {
        run(&mut cluster.nodes[0].serve(&cluster.home, "e2e"), "").failed_saying(why);
        fs::remove_dir_all(&own).unwrap();
    };
    let joins_again = "let it join again";

    copy_directory(&cluster.nodes[1].data_dir.join("log"), &own);
    refuses(&cluster, &["log/", "belongs to another node of this cluster", joins_again]);

    copy_directory(&kept, &own);
    let segment = cluster.nodes[0].files("log").remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..].fill(0);
    fs::write(&segment, &bytes).unwrap();
    refuses(&cluster, &["log/", "has lost what was durable", joins_again]);

    copy_directory(&kept, &own);
    fs::write(&segment, &bytes[..middle]).unwrap();
    refuses(&cluster, &["log/", "has lost what was durable", joins_again]);

    fs::create_dir(&own).unwrap();
    refuses(&cluster, &["log", "has lost what was durable", joins_again]);

    fs::rename(&kept, &own).unwrap();
    cluster.start_missing();
    cluster.await_agreement();
    let keys = cluster.verb(&["get", "before-", "--prefix", "--keys-only"]).succeeded();
    assert_eq!(keys.lines().filter(|line| line.contains("before-")).count(), 100, "{keys}");
}

/// One node is away, the other two acknowledge writes, and one of those two gets an older copy of its disk. It and the one
/// that was away lead, and what was acknowledged is lost, unless the third has it: so the third must not give way.
#[test]
fn what_a_rolled_back_disk_lost_is_missed_loudly_by_whoever_still_has_it() {
    lose_acknowledged_writes(|leader| (leader + 1) % 3);
}

/// The same, and the two elect a leader of a term that already had one: they have forgotten it.
#[test]
fn a_second_leader_of_a_term_is_noticed_by_whoever_knew_the_first() {
    lose_acknowledged_writes(|leader| leader);
}

/// Who is away is chosen by who leads.
fn lose_acknowledged_writes(choose_away: impl Fn(usize) -> usize) {
    let mut cluster = Cluster::start(3);
    let old = (cluster.leader() + 2) % 3;
    cluster.await_agreement();
    cluster.kill(&[old]);
    let directory = cluster.nodes[old].data_dir.clone();
    let copy = directory.with_extension("copy");
    copy_directory(&directory, &copy);
    cluster.start_missing();
    cluster.await_agreement();

    let leader = cluster.leader();
    let mut away = choose_away(leader);
    if away == old {
        away = (old + 1) % 3;
    }
    let keeper = 3 - old - away;
    cluster.kill(&[away]);
    put_at(&cluster, keeper, "acknowledged", 100);
    cluster.kill(&[old, keeper]);
    fs::remove_dir_all(&directory).unwrap();
    fs::rename(&copy, &directory).unwrap();
    let nodes = cluster.nodes.clone();
    let serve = |position: usize| nodes[position].serve(&cluster.home, "e2e");
    let _forgetful = [Background::start(&mut serve(old)), Background::start(&mut serve(away))];
    let leader = cluster.leader();
    put_at(&cluster, away, "since", 10);
    await_condition("the health of two that agree", || cluster.http(leader, "/health").0 == 200);
    assert_eq!(contradicted_by(&cluster, leader), [""; 0]);
    let keys = cluster.verb(&["get", "acknowledged-", "--prefix", "--keys-only"]).succeeded();
    assert!(!keys.contains("acknowledged-"), "they are lost to these two: {keys}");
    cluster.verb(&["quorum", "--check"]).succeeded();

    run(&mut serve(keeper), "").failed_saying(&["disk has lost durable writes", "keep a copy of it"]);
    await_red(&cluster, &nodes[keeper].id);
    let status = cluster.verb(&["status"]);
    assert!(!status.stdout.contains("ok") && !status.stdout.contains("healthy"), "{}", status.stdout);
    let keeper = &nodes[keeper].id;
    status.failed_saying(&[keeper, "has committed entry", "Replicas contradict each other"]);
    cluster.verb(&["quorum", "--check"]).failed_saying(&[keeper, "has committed entry"]);
    let json = cluster.verb(&["quorum", "--check", "--json"]);
    assert!(
        json.stdout.contains("has committed entry") && json.code.is_some_and(|code| code != 0),
        "{json:?}"
    );
}

/// Waits until a leader says that a node had committed what it lacks, and its health and metrics say so, too. Without a quorum
/// there would be no ok either.
fn await_red(cluster: &Cluster, keeper: &str) {
    let (leader, troubled) = await_some("a leader that says what it lacks", || {
        cluster.statuses().into_iter().find(|(_, status)| status.group.trouble.is_some())
    });
    await_condition("its health to be red for that", || {
        let (code, health) = cluster.http(leader, "/health");
        code == 503 && health.contains("has committed entry")
    });
    let member = troubled.members.iter().find(|member| member.name == keeper).unwrap();
    assert_eq!(contradicted_by(cluster, leader), [format!("{:x}", member.id.0)]);
}

/// The ids of the peers that, by a node's metrics, had committed what it does not have.
fn contradicted_by(cluster: &Cluster, position: usize) -> Vec<String> {
    let (code, metrics) = cluster.http(position, "/metrics");
    assert_eq!(code, 200, "{metrics}");
    let prefix = "ruvector_peer_contradicts{To=\"";
    let peers: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix(prefix)).collect();
    assert_eq!(peers.len(), 2, "{metrics}");
    peers.into_iter().filter_map(|line| line.strip_suffix("\"} 1")).map(str::to_owned).collect()
}

/// Puts keys by one node only.
fn put_at(cluster: &Cluster, position: usize, prefix: &str, count: usize) {
    let endpoint = cluster.nodes[position].client.clone();
    cluster.wait(async {
        let client = Client::connect([endpoint.as_str()]).await.unwrap();
        for number in 0..count {
            let key = Bytes::from(format!("{prefix}-{number}"));
            client.put(key, Bytes::new(), PutOptions::default()).await.unwrap();
        }
    });
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
