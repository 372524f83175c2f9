//! The life of a cluster of this machine, by the command line alone and with real processes.
#![allow(clippy::unwrap_used)]

mod ports;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ports::free_base_port;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A cluster of three that is destroyed when dropped.
struct Cluster {
    home: TempDir,
}

impl Cluster {
    fn init() -> Self {
        let cluster = Self { home: tempfile::tempdir().unwrap() };
        let base = free_base_port(3).to_string();
        let made = cluster.json(&[
            "init",
            "--protocol",
            "raft",
            "--nodes",
            "3",
            "--name",
            "story",
            "--base-port",
            &base,
        ]);
        assert_eq!(made["cluster"], "story");
        assert_eq!(made["nodes"].as_array().unwrap().len(), 3);
        assert_eq!(made["nodes"][0]["client"], format!("127.0.0.1:{base}"));
        assert!(u64::from_str_radix(made["cluster_id"].as_str().unwrap(), 16).is_ok());
        cluster
    }

    /// Runs a verb; gives whether it succeeded, and both outputs.
    fn run(&self, line: &[&str]) -> (bool, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_ruvector"))
            .arg("consensus")
            .args(line)
            .env("RUVECTOR_HOME", self.home.path())
            .env_remove("RUVECTOR_ENDPOINTS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    fn succeeds(&self, line: &[&str]) -> String {
        let (success, stdout, stderr) = self.run(line);
        assert!(success, "{line:?}: {stderr}");
        stdout
    }

    fn fails(&self, line: &[&str]) -> String {
        let (success, stdout, stderr) = self.run(line);
        assert!(!success, "{line:?}: {stdout}");
        stderr
    }

    fn json(&self, line: &[&str]) -> Value {
        let text = self.succeeds(&[line, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"))
    }

    /// Runs a verb again and again until what it gives is as wanted: elections take their time.
    fn await_json(&self, line: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let (success, stdout, stderr) = self.run(&[line, &["--json"]].concat());
            match serde_json::from_str(&stdout) {
                Ok(value) if success && wanted(&value) => return value,
                Ok(_) | Err(_) => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "{line:?}: {stdout} {stderr}");
                }
            }
        }
    }
}

fn kill(pid: &Value) {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.run(&["destroy", "--yes"]);
    }
}

#[test]
fn keys_are_written_read_watched_compared_and_deleted() {
    let cluster = Cluster::init();
    assert_eq!(cluster.json(&["put", "a/1", "one"]), json!({ "revision": 2, "previous": null }));
    cluster.succeeds(&["put", "a/2", "-2"]);
    assert_eq!(cluster.succeeds(&["get", "a/1"]), "one");
    assert_eq!(cluster.succeeds(&["get", "a/2"]), "-2");
    assert_eq!(cluster.succeeds(&["get", "--prefix", "a/", "--keys-only"]), "a/1\na/2\n");
    assert_eq!(cluster.succeeds(&["get", "--prefix", "", "--count-only"]), "2\n");
    assert_eq!(cluster.json(&["get", "a", "--range", "b", "--limit", "1"])["more"], true);
    assert!(cluster.fails(&["get", "nothing"]).contains("there is no key `nothing`"));
    assert!(cluster.fails(&["get", "nothing", "--json"]).contains("there is no key `nothing`"));

    let held =
        cluster.json(&["txn", "--if", "value(a/1) = one", "--then", "put a/1 uno", "--else", "get a/1"]);
    assert_eq!((&held["succeeded"], &held["revision"]), (&json!(true), &json!(4)));
    let failed = cluster.json(&["txn", "--if", "missing(a/1)", "--then", "put a/1 x", "--else", "get a/1"]);
    assert_eq!(failed["succeeded"], false);
    assert_eq!(failed["responses"][0]["get"]["kvs"][0]["value"], "uno");
    assert_eq!(cluster.succeeds(&["get", "a/1", "--revision", "2"]), "one");

    for (level, flags) in [("strong", &[][..]), ("lease", &[]), ("stale", &["--max-staleness", "1h"])] {
        let read = cluster.json(&[&["read", "--key", "a/1", "--level", level], flags].concat());
        assert_eq!((read["level"].as_str(), read["kv"]["value"].as_str()), (Some(level), Some("uno")));
    }
    let deleted = cluster.json(&["del", "--prefix", "a/", "--prev-kv"]);
    assert_eq!((&deleted["deleted"], &deleted["previous"][0]["value"]), (&json!(2), &json!("uno")));

    let log = cluster.json(&["log", "--tail", "2"]);
    assert_eq!(log["entries"].as_array().unwrap().len(), 2, "{log}");
}

#[test]
fn the_loss_of_nodes_is_told_and_start_brings_them_back() {
    let cluster = Cluster::init();
    let whole = cluster.await_json(&["quorum", "--check"], |quorum| quorum["absent"] == json!([]));
    assert_eq!(whole["voters"], json!(["node-1", "node-2", "node-3"]));
    assert_eq!((&whole["holds"], &whole["may_fail"]), (&json!(true), &json!(1)));
    cluster.await_json(&["leader", "--show"], |leader| leader["leader"].is_string());

    let pids: Vec<Value> = cluster.json(&["start"])["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["pid"].clone())
        .collect();
    kill(&pids[1]);
    let one_lost =
        |status: &Value| status["quorum"]["holds"] == true && status["nodes"][1]["reachable"] == false;
    let status = cluster.await_json(&["status", "--detailed"], one_lost);
    assert_eq!(status["quorum"]["absent"], json!(["node-2"]));
    assert_eq!(status["nodes"][1]["id"], "node-2");
    let quorum = cluster.await_json(&["quorum", "--check"], |quorum| quorum["holds"] == true);
    assert_eq!((&quorum["needed"], &quorum["may_fail"]), (&json!(2), &json!(0)));

    // Whoever is left may believe to lead for an election timeout; it is one of three either way.
    kill(&pids[2]);
    let refusal = cluster.fails(&["quorum", "--check"]);
    assert!(refusal.contains("no quorum") && refusal.contains("< 2"), "{refusal}");

    let started = cluster.json(&["start"]);
    assert_eq!(started["nodes"][0]["pid"], pids[0], "a node that ran was started again");
    assert_ne!(started["nodes"][1]["pid"], pids[1]);
    cluster.await_json(&["quorum", "--check"], |quorum| quorum["present"].as_array().unwrap().len() == 3);
}

#[test]
fn a_snapshot_takes_the_cluster_back() {
    let cluster = Cluster::init();
    cluster.succeeds(&["put", "kept", "1"]);
    let created = cluster.json(&["snapshot", "--create", "--name", "good"]);
    assert!(created["nodes"].as_array().unwrap().iter().all(|node| node["error"].is_null()), "{created}");
    assert!(cluster.fails(&["snapshot", "--create", "--name", "good"]).contains("3 of 3 nodes"));
    assert!(cluster.succeeds(&["snapshot", "--list"]).contains("good"));
    cluster.succeeds(&["put", "kept", "2"]);
    cluster.succeeds(&["put", "lost", "1"]);

    let restore = ["snapshot", "--restore", "--from", "good"];
    assert!(cluster.fails(&["snapshot", "--restore", "--from", "bad", "--yes"]).contains("there are good"));
    let question = cluster.fails(&restore);
    assert!(question.contains("entries since are lost") && question.contains("--yes"), "{question}");
    assert_eq!(cluster.succeeds(&["get", "kept"]), "2");

    let before = cluster.json(&["status"])["cluster_id"].clone();
    let restored = cluster.json(&[&restore[..], &["--yes"]].concat());
    assert_eq!(restored["snapshot"]["name"], "good");
    assert_ne!(restored["cluster_id"], before, "nodes from before and after could mix");
    assert_eq!(cluster.succeeds(&["get", "kept"]), "1");
    cluster.fails(&["get", "lost"]);
    let old: Vec<PathBuf> = serde_json::from_value(restored["old_data_dirs"].clone()).unwrap();
    assert!(old.len() == 3 && old.iter().all(|directory| directory.is_dir()), "{old:?}");

    cluster.succeeds(&["put", "kept", "3"]);
    cluster.succeeds(&["stop"]);
    assert!(cluster.fails(&["get", "kept"]).contains("does not run"));
    cluster.succeeds(&["start"]);
    assert_eq!(cluster.succeeds(&["get", "kept"]), "3");
    cluster.succeeds(&["destroy", "--yes"]);
    assert!(old.iter().all(|directory| !directory.exists()), "{old:?}");
}

#[test]
fn a_log_is_compacted_on_every_node() {
    let cluster = Cluster::init();
    for value in ["1", "2", "3"] {
        cluster.succeeds(&["put", "a", value]);
    }
    let level = |status: &Value| {
        let applied = |node: usize| status["nodes"][node]["status"]["group"]["applied_index"].as_u64();
        applied(0).is_some() && applied(0) == applied(1) && applied(1) == applied(2)
    };
    let status = cluster.await_json(&["status"], level);
    let last = status["nodes"][0]["status"]["group"]["applied_index"].as_u64().unwrap();
    let refusal = cluster.fails(&["compact-log", "--before-index", &(last + 100).to_string()]);
    assert!(refusal.contains("3 of 3 nodes"), "{refusal}");
    let compacted = cluster.json(&["compact-log", "--before-index", &last.to_string()]);
    for node in compacted["nodes"].as_array().unwrap() {
        assert_eq!(node["first_index"], json!(last), "{compacted}");
    }
    assert_eq!(cluster.succeeds(&["get", "a"]), "3");
}
