//! What somebody meets in the first hour: bytes that are no text, nodes that are dead or stand still, a log that grows.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use ruvector_client::PutOptions;
use serde_json::{Value, json};

use crate::support::{Cluster, await_some, ruvector};

/// No text, and ends with what `echo` would have put there.
const BYTES: &[u8] = b"\x89PNG\r\n\x00\xff\xfe\n";

/// Runs a verb with bytes on its standard input.
fn run_with(cluster: &Cluster, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = ruvector(&cluster.home);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(cluster: &Cluster, arguments: &[&str]) -> Vec<u8> {
    let output = run_with(cluster, arguments, b"");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn from_json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let cluster = Cluster::start(1);
    let put = run_with(&cluster, &["put", "--hex", "00ff"], BYTES);
    assert_eq!(String::from_utf8_lossy(&put.stdout), "OK 00ff (revision 2)\n");
    assert_eq!(stdout(&cluster, &["get", "--hex", "00ff"]), BYTES);
    assert_eq!(stdout(&cluster, &["get", "--base64", "AP8="]), BYTES);
    assert_eq!(stdout(&cluster, &["read", "--key", "00ff", "--hex", "--json"]).first(), Some(&b'{'));

    // A text is taken without its last line break.
    run_with(&cluster, &["put", "text"], b"one\ntwo\n");
    assert_eq!(stdout(&cluster, &["get", "text"]), b"one\ntwo");

    let keys = ["get", "--prefix", "", "--keys-only"];
    assert_eq!(stdout(&cluster, &keys), b"\x00\xff\ntext\n");
    assert_eq!(stdout(&cluster, &[&keys[..], &["--hex"]].concat()), b"00ff\n74657874\n");
    assert_eq!(stdout(&cluster, &[&keys[..], &["--base64"]].concat()), b"AP8=\ndGV4dA==\n");
    // A table is for eyes, wherever it goes.
    let table = String::from_utf8(stdout(&cluster, &["get", "--prefix", ""])).unwrap();
    assert!(table.contains("\\x00\\xff"), "{table}");
    let answer = from_json(&stdout(&cluster, &["get", "--hex", "00ff", "--json"]));
    assert_eq!((&answer["kvs"][0]["key"], &answer["kvs"][0]["key_base64"]), (&Value::Null, &json!("AP8=")));

    let deleted = from_json(&stdout(&cluster, &["del", "--base64", "AP8=", "--json"]));
    assert_eq!(deleted["deleted"], 1);
    let missing = run_with(&cluster, &["get", "--hex", "00FF"], b"");
    assert_eq!(String::from_utf8_lossy(&missing.stderr), "error: there is no key `00ff`\n");
    cluster.verb(&["get", "--hex", "0x"]).failed_saying(&["`0x` is no hexadecimal"]);
}

#[test]
fn a_prefix_that_fits_no_message_is_read_whole() {
    let cluster = Cluster::start(1);
    let value = vec![b'x'; 1_000_000];
    for number in 0..70 {
        let key = format!("big/{number:02}");
        cluster.wait(cluster.client().put(key, value.clone(), PutOptions::default())).unwrap();
    }
    let got = run_with(&cluster, &["get", "--prefix", "big/"], b"");
    assert!(got.status.success() && got.stderr.is_empty(), "{}", String::from_utf8_lossy(&got.stderr));
    let table = got.stdout;
    assert!(table.len() > 70 * value.len(), "{} bytes", table.len());
    assert_eq!(stdout(&cluster, &["get", "--prefix", "big/", "--keys-only"]).len(), 70 * "big/00\n".len());
}

#[test]
fn without_a_quorum_it_is_said_which_nodes_answer() {
    let cluster = Cluster::start(3);
    cluster.kill(&[0, 2]);
    // Whoever is left may know a leader for an election timeout.
    let quorum = await_some("a node that knows no leader", || {
        let shown = cluster.verb(&["leader", "--show", "--json"]);
        shown.stderr.contains("nobody leads").then(|| cluster.verb(&["quorum", "--check", "--json"]))
    });
    assert_eq!(quorum.code, Some(1), "a script asks for the code: {quorum:?}");
    let shown = from_json(quorum.stdout.as_bytes());
    assert_eq!(shown["holds"], false, "{shown}");
    assert_eq!(from_json(quorum.stderr.as_bytes())["kind"], "no-quorum");

    let words = ["no quorum: 1 of 3 nodes answers (node-2), 2 are needed", "(node-1, node-3)"];
    cluster.verb(&["put", "a", "1"]).failed_saying(&[&words[..], &["read before writing again"]].concat());
    cluster.verb(&["get", "a"]).failed_saying(&words);
    cluster.verb(&["get", "--prefix", "a"]).failed_saying(&words);
    cluster.verb(&["del", "a"]).failed_saying(&words);
    cluster.verb(&["txn", "--then", "get a"]).failed_saying(&words);
    cluster.verb(&["read", "--key", "a"]).failed_saying(&words);
    // This needs none.
    cluster.verb(&["read", "--key", "a", "--level", "stale"]).failed_saying(&["there is no key `a`"]);
    let failed = cluster.verb(&["put", "a", "1", "--json"]);
    let failed = (failed.code, from_json(failed.stderr.as_bytes()));
    assert_eq!(
        (failed.0, &failed.1["kind"], &failed.1["exit_code"]),
        (Some(1), &json!("no-quorum"), &json!(1))
    );
}

#[test]
fn a_node_that_stands_still_holds_up_nobody_and_is_named() {
    let cluster = Cluster::start(3);
    let paused = (cluster.leader() + 1) % 3;
    let address = cluster.nodes[paused].client.clone();
    cluster.pause(&[paused]);
    let status = from_json(cluster.verb(&["status", "--json"]).succeeded().as_bytes());
    let listed = from_json(cluster.verb(&["snapshot", "--list", "--json"]).succeeded().as_bytes());
    let table = cluster.verb(&["snapshot", "--list"]).succeeded();
    cluster.go_on(&[paused]);

    let silent = format!("{address} is silent while others answer");
    for position in 0..3 {
        let (status, listed) = (&status["nodes"][position], &listed["nodes"][position]);
        let is_paused = position == paused;
        assert_eq!(status["reachable"], !is_paused, "{status}");
        assert_eq!(listed["result"].is_null(), is_paused, "{listed}");
        if is_paused {
            assert!(status["error"].as_str().unwrap().contains(&silent), "{status}");
            assert!(listed["error"].as_str().unwrap().contains(&silent), "{listed}");
        }
    }
    assert!(table.contains(&silent), "{table}");
}

#[test]
fn a_node_that_does_not_stop_is_killed_and_named() {
    let cluster = Cluster::start(1);
    cluster.pause(&[0]);
    let stopped = from_json(cluster.verb(&["stop", "--json"]).succeeded().as_bytes());
    assert_eq!(stopped, json!({ "cluster": "e2e", "stopped": ["node-1"], "killed": ["node-1"] }));
}

#[test]
fn a_full_log_is_put_aside() {
    const FULL: usize = 8 << 20;
    let mut cluster = Cluster::start(1);
    cluster.stop();
    let log = cluster.nodes[0].data_dir.join("node.log");
    let mut file = fs::File::options().append(true).open(&log).unwrap();
    file.write_all(&[b'x'; FULL]).unwrap();
    file.write_all(b"\n").unwrap();
    cluster.start_missing();
    let aside = log.with_extension("log.1");
    assert!(fs::metadata(&aside).unwrap().len() > FULL as u64);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("listening for clients") && text.len() < FULL, "{} bytes", text.len());
    // There a panic would speak.
    let errors = fs::read_link(format!("/proc/{}/fd/2", cluster.nodes[0].pid)).unwrap();
    assert_eq!(errors, log.canonicalize().unwrap());
}
