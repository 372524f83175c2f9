//! Runs the stories in `tests/scripts`: commands, and beside them what must come of them.
//!
//! A line that begins with `> ` is a command, `# ` a comment; what a command caused stands below it, one line
//! for every message that arrives and every effect. `UPDATE_SCRIPTS=1` writes down what happens now.
//!
//! | command | does |
//! |---|---|
//! | `nodes 3 tail=1000 append=300` | makes a cluster; sizes in bytes are optional, and `gather=` in microseconds |
//! | `timeout 1` | lets node 1's election timeout pass; nobody else notices |
//! | `campaign 1` | the same, and everything that comes of it |
//! | `propose 1 text` · `propose 1 text 40` (so many at once) · `tick 1` · `read 1 strong` · `read 1 lease` | inputs |
//! | `deliver` | everything happens that needs no time: messages, disks, state machines |
//! | `deliver 1 2` · `drop 1 2` | only what is under way from 1 to 2 arrives, or is lost |
//! | `pass 100ms` | time passes with everything that happens in it |
//! | `elapse 100ms` | time passes and nobody notices |
//! | `wake 1` | node 1 looks at its clock |
//! | `partition 1 \| 2 3` · `cut 1 2` · `heal` | links lose everything, both ways or one way, or nothing |
//! | `stall 2` · `persist 2` · `persist 2 oldest` · `unstall 2` | the disk completes nothing, all that waits, one write, everything again |
//! | `crash 2` · `restart 2` · `restart 2 900ms` · `lost 2 1` | node 2 stops, starts, with another election timeout; its connection to 1 breaks |
//! | `compact 1` | takes a snapshot and forgets the log before it |
//! | `status` · `clock` | what everyone is, and knows of time |
//!
//! A command that ends in `quietly` has no output.

#![allow(clippy::unwrap_used)]

mod cluster;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use cluster::{Cluster, Disk};
use ruvector_protocol::{Config, GroupId, Incarnation, Input, NodeId, PlantedBug, ReadLevel, RoleName};

#[test]
fn the_stories_come_out_as_written() {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 15, "only {} scripts were found", paths.len());
    let mut different = Vec::new();
    for path in paths {
        let written = std::fs::read_to_string(&path).unwrap();
        let Ok(happened) = std::panic::catch_unwind(|| play(&written, None)) else {
            different.push(format!("{} can't be played to its end", path.display()));
            continue;
        };
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, happened).unwrap();
        } else if let Some((line, (expected, found))) =
            written.lines().zip(happened.lines()).enumerate().find(|(_, (expected, found))| expected != found)
        {
            let (path, line) = (path.display(), line + 1);
            different.push(format!("{path} line {line}:\n  written:  {expected}\n  happened: {found}"));
        } else if written != happened {
            different.push(format!("{} is shorter or longer than what happened", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Mistakes that take more than accidents to show: in their story a read or a leader misses what was committed before.
#[test]
fn stories_show_what_they_are_about() {
    for (story, bug) in [
        ("read_asked_in_minority", PlantedBug::MinorityConfirmsRead),
        ("read_asked_by_newcomer", PlantedBug::NewcomerConfirmsRead),
        ("newcomer_cut_off", PlantedBug::JoinsBelowTarget),
    ] {
        let written = read(story);
        assert!(std::panic::catch_unwind(|| play(&written, None)).is_ok(), "{story} itself fails");
        assert!(std::panic::catch_unwind(|| play(&written, Some(bug))).is_err(), "{story} allows {bug:?}");
    }
}

/// Mistakes about leases: in their story something is served, or somebody elected, while a lease holds.
#[test]
fn stories_of_leases_come_out_differently_with_the_mistakes_they_are_about() {
    for (story, bug) in [
        ("lease_of_promises", PlantedBug::LeaseFromOwnTimeout),
        ("promise_kept", PlantedBug::PromiseForgotten),
    ] {
        let written = read(story);
        let happened = std::panic::catch_unwind(|| play(&written, Some(bug)));
        assert!(happened.ok().is_none_or(|happened| happened != written), "{story} allows {bug:?}");
    }
}

fn read(story: &str) -> String {
    std::fs::read_to_string(directory().join(story).with_extension("txt")).unwrap()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// The script with its commands and comments, and with what happens now below each command.
fn play(script: &str, bug: Option<PlantedBug>) -> String {
    let mut cluster = Cluster::new(1, |node| Config::new(GroupId::METADATA, node, Incarnation(1), 1));
    let mut output = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(output, "{line}").unwrap();
            run(&mut cluster, command.trim_end_matches(" quietly"), bug);
            let trace = std::mem::take(&mut cluster.trace);
            if !command.ends_with(" quietly") {
                trace.iter().for_each(|event| writeln!(output, "{event}").unwrap());
            }
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(output, "{line}").unwrap();
        }
    }
    output
}

fn run(cluster: &mut Cluster, command: &str, bug: Option<PlantedBug>) {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["nodes", count, ref sizes @ ..] => *cluster = new_cluster(count.parse().unwrap(), sizes, bug),
        ["new", "nodes", count] => *cluster = unfounded_cluster(count.parse().unwrap(), bug),
        ["timeout", id] => time_out(cluster, node(id)),
        ["campaign", id] => campaign(cluster, node(id)),
        ["propose", id, text] => cluster.propose(node(id), text, 1),
        ["propose", id, text, count] => cluster.propose(node(id), text, count.parse().unwrap()),
        ["tick", id] => cluster.step(node(id), Input::ProposeTick),
        ["read", id, "strong"] => cluster.read(node(id), ReadLevel::Strong),
        ["read", id, "lease"] => cluster.read(node(id), ReadLevel::Lease),
        ["deliver"] => cluster.settle(),
        ["deliver", from, to] => deliver_link(cluster, (node(from), node(to))),
        ["drop", from, to] => cluster.lose_where(|parcel| parcel.link() == (node(from), node(to))),
        ["pass", time] => cluster.pass(micros(time)),
        ["elapse", time] => cluster.now_us += micros(time),
        ["wake", id] => cluster.wake(node(id)),
        ["partition", ref groups @ ..] => partition(cluster, groups),
        ["cut", from, to] => {
            cluster.cut.insert((node(from), node(to)));
        }
        ["heal"] => cluster.cut.clear(),
        ["stall", id] => {
            cluster.stalled_disks.insert(node(id));
        }
        ["persist", id] => cluster.sync(node(id), usize::MAX),
        ["persist", id, "oldest"] => cluster.sync(node(id), 1),
        ["unstall", id] => {
            cluster.stalled_disks.remove(&node(id));
        }
        ["crash", id] => cluster.crash(node(id), 0),
        ["restart", id] => cluster.restart(node(id)),
        ["restart", id, timeout] => {
            cluster.nodes.get_mut(&node(id)).unwrap().config.election_timeout_us = micros(timeout);
            cluster.restart(node(id));
        }
        ["wipe", id] => cluster.replace_disk(node(id), Disk::empty()),
        ["back-up", id] => {
            cluster.backup = cluster.nodes[&node(id)].disk.clone();
        }
        ["restore", id] => cluster.replace_disk(node(id), cluster.backup.clone()),
        ["lost", id, peer] => cluster.step(node(id), Input::PeerLost(node(peer))),
        ["compact", id] => cluster.compact(node(id)),
        ["status"] => status(cluster),
        ["clock"] => clock(cluster),
        _ => panic!("unknown command: {command}"),
    }
}

fn node(word: &str) -> NodeId {
    NodeId(word.parse().unwrap())
}

fn micros(word: &str) -> u64 {
    word.strip_suffix("ms").unwrap().parse::<u64>().unwrap() * 1000
}

/// Nodes that have never run, all of them down.
fn unfounded_cluster(count: u64, bug: Option<PlantedBug>) -> Cluster {
    let mut cluster = new_cluster(count, &[], bug);
    for id in cluster.ids() {
        cluster.crash(id, 0);
        cluster.replace_disk(id, Disk::empty());
    }
    cluster.trace.clear();
    cluster
}

fn new_cluster(count: u64, sizes: &[&str], bug: Option<PlantedBug>) -> Cluster {
    Cluster::new(count, |node| {
        let mut config = Config::new(GroupId::METADATA, node, Incarnation(1), node.0);
        config.planted_bug = bug;
        for (name, value) in sizes.iter().map(|size| size.split_once('=').unwrap()) {
            let bytes = value.parse().unwrap();
            match name {
                "gather" => config.gather_us = value.parse().unwrap(),
                "tail" => config.tail_bytes_max = bytes,
                "append" => config.append_bytes_max = bytes,
                "inflight" => config.inflight_bytes_max = bytes,
                "uncommitted" => config.uncommitted_bytes_max = bytes,
                _ => panic!("unknown size {name}"),
            }
        }
        config
    })
}

/// Lets one node's election timeout pass; nobody else notices the time.
fn time_out(cluster: &mut Cluster, id: NodeId) {
    let is_waiting = |cluster: &Cluster| {
        let status = cluster.nodes[&id].raft.as_ref().unwrap().status();
        matches!(status.role, RoleName::Follower | RoleName::Leader)
    };
    loop {
        let deadline = cluster.nodes[&id].global_deadline_us().unwrap();
        cluster.now_us = cluster.now_us.max(deadline);
        cluster.wake(id);
        if !is_waiting(cluster) {
            return;
        }
    }
}

fn campaign(cluster: &mut Cluster, id: NodeId) {
    cluster.settle_waking(&[]);
    time_out(cluster, id);
    cluster.settle_waking(&[id]);
}

fn deliver_link(cluster: &mut Cluster, link: (NodeId, NodeId)) {
    let waiting = cluster.network.iter().filter(|parcel| parcel.link() == link).count();
    for _ in 0..waiting {
        let place = cluster.network.iter().position(|parcel| parcel.link() == link).unwrap();
        cluster.deliver_at(place);
    }
}

fn partition(cluster: &mut Cluster, groups: &[&str]) {
    let groups: Vec<Vec<NodeId>> = groups
        .split(|word| *word == "|")
        .map(|group| group.iter().map(|word| node(word)).collect())
        .collect();
    for (place, group) in groups.iter().enumerate() {
        groups[place + 1..].iter().for_each(|other| cluster.isolate(group, other));
    }
}

fn status(cluster: &mut Cluster) {
    for (id, node) in &cluster.nodes {
        let line = node.raft.as_ref().map_or("down".to_owned(), |raft| {
            let status = raft.status();
            let followers: String = status
                .followers
                .iter()
                .map(|follower| format!(", {} {}s at {}", follower.node, follower.state, follower.matched))
                .collect();
            format!(
                "{:?} term {} commit {} applied {} last {}{followers}",
                status.role,
                status.term,
                status.commit,
                status.applied,
                cluster::render::position(status.last)
            )
        });
        cluster.trace.push(format!("{id} is {line}"));
    }
}

fn clock(cluster: &mut Cluster) {
    for (id, node) in &cluster.nodes {
        let now = node.local_time(cluster.now_us);
        let Some(raft) = &node.raft else { continue };
        let lease = raft
            .lease_until(now)
            .map_or("no lease".to_owned(), |until| format!("a lease of {} us", until.micros_since(now)));
        let age = raft.staleness_us(now).map_or("of unknown age".to_owned(), |age| format!("{age} us old"));
        cluster
            .trace
            .push(format!("{id} has cluster time {}, {lease}, a state {age}", raft.cluster_time(now)));
    }
}
