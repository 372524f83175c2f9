//! The command line without a cluster: helps, refusals, and what they say.
#![allow(clippy::unwrap_used)]

mod ports;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ports::free_base_port;
use tempfile::TempDir;

const VERBS: [&str; 17] = [
    "init",
    "start",
    "stop",
    "destroy",
    "serve",
    "status",
    "leader",
    "quorum",
    "put",
    "get",
    "del",
    "watch",
    "txn",
    "read",
    "log",
    "compact-log",
    "snapshot",
];

/// A registry of its own for each test.
struct Cli {
    home: TempDir,
}

impl Cli {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn run(&self, line: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ruvector"))
            .args(line)
            .env("RUVECTOR_HOME", self.home.path())
            .env_remove("RUVECTOR_ENDPOINTS")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a verb that must fail in one line; gives the exit code and the line.
    fn fails(&self, line: &[&str]) -> (i32, String) {
        let output = self.run(&[&["consensus"], line].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{line:?} succeeded");
        assert!(output.stdout.is_empty(), "{line:?} printed a result");
        assert!(error.starts_with("error: "), "{line:?}: {error}");
        (output.status.code().unwrap(), error)
    }

    /// Like [`fails`](Self::fails), for our own refusals, which are one line.
    fn refuses(&self, line: &[&str], code: i32, parts: &[&str]) {
        let (given, error) = self.fails(line);
        assert_eq!(given, code, "{line:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{line:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{line:?}: `{part}` is not in: {error}");
        }
    }

    /// Remembers a cluster that never ran.
    fn remember(&self, name: &str, client: &str, peer: &str) {
        let directory = self.home.path().join("data").join(name);
        let record = format!(
            r#"{{"format":1,"name":"{name}","cluster_id":null,"directory":"{0}","nodes":[
                {{"id":"node-1","client":"{client}","peer":"{peer}","data_dir":"{0}/node-1","process":null}}]}}"#,
            directory.display()
        );
        let registry = self.home.path().join("clusters");
        std::fs::create_dir_all(&registry).unwrap();
        std::fs::create_dir_all(directory.join("node-1")).unwrap();
        std::fs::write(registry.join(format!("{name}.json")), record).unwrap();
    }
}

impl Drop for Cli {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.run(&["consensus", "destroy", "--cluster", "default", "--yes"]);
    }
}

/// A port that is taken as long as the listener lives; the next one is free.
fn taken_port() -> (TcpListener, u16) {
    // A test beside this one may be quicker.
    loop {
        let port = free_base_port(1);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return (listener, port);
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_verb_has_a_help_with_an_example() {
    let cli = Cli::new();
    for verb in VERBS {
        for flag in ["--help", "-h"] {
            let help = cli.run(&["consensus", verb, flag]);
            assert!(help.status.success(), "{verb}");
            let help = text(&help.stdout);
            assert!(help.contains("Example"), "{verb}: {help}");
            assert!(help.contains(&format!("ruvector consensus {verb}")), "{verb}: {help}");
        }
    }
}

#[test]
fn the_overview_names_every_verb_and_no_other() {
    let cli = Cli::new();
    let help = cli.run(&["consensus", "--help"]);
    let help = text(&help.stdout);
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, [&VERBS[..], &["help"]].concat());
}

#[test]
fn what_comes_later_is_not_there_yet() {
    let cli = Cli::new();
    for verb in ["transfer-leader", "add-node", "lock", "join", "bft-enable", "frobnicate"] {
        let (code, error) = cli.fails(&[verb]);
        assert_eq!(code, 2);
        assert!(error.contains(verb) && error.contains("unrecognized"), "{error}");
    }
}

#[test]
fn completion_is_there_for_the_usual_shells() {
    let cli = Cli::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completion", shell]);
        assert!(script.status.success());
        assert!(text(&script.stdout).contains("compact-log"), "{shell}");
    }
}

#[test]
fn without_any_cluster_every_verb_says_how_to_get_one() {
    let cli = Cli::new();
    for line in [
        &["status"][..],
        &["leader", "--show"],
        &["quorum", "--check"],
        &["put", "a", "1"],
        &["get", "a"],
        &["del", "a"],
        &["watch", "a"],
        &["txn", "--then", "put a 1"],
        &["read", "--key", "a"],
        &["log", "--tail", "3"],
        &["compact-log", "--before-index", "3"],
        &["snapshot", "--list"],
        &["snapshot", "--create"],
        &["snapshot", "--restore", "--from", "x"],
        &["start"],
        &["stop"],
        &["destroy", "--yes"],
    ] {
        cli.refuses(line, 1, &["ruvector consensus init", "--endpoints"]);
        let named = [line, &["--cluster", "nope"]].concat();
        cli.refuses(&named, 1, &["no cluster `nope`", "init --name nope"]);
    }
}

#[test]
fn of_several_clusters_one_must_be_chosen() {
    let cli = Cli::new();
    cli.remember("a", "127.0.0.1:1", "127.0.0.1:2");
    cli.remember("b", "127.0.0.1:1", "127.0.0.1:2");
    cli.refuses(&["status"], 2, &["a, b", "--cluster"]);
}

#[test]
fn a_cluster_that_does_not_run_is_said_to() {
    let cli = Cli::new();
    let port = free_base_port(1);
    cli.remember("mine", &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", port + 1));
    cli.refuses(&["get", "a"], 1, &["cluster `mine` does not run", "start --cluster mine"]);
    let stopped = cli.run(&["consensus", "stop", "--json"]);
    assert!(stopped.status.success());
    let json: serde_json::Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(json, serde_json::json!({ "cluster": "mine", "stopped": [], "killed": [] }));
}

#[test]
fn nodes_that_do_not_answer_are_named() {
    let cli = Cli::new();
    let port = free_base_port(1);
    let endpoint = format!("127.0.0.1:{port}");
    for line in [&["get", "a"][..], &["put", "a", "1"], &["status"], &["quorum", "--check"], &["watch", "a"]]
    {
        let line = [line, &["--endpoints", &endpoint]].concat();
        cli.refuses(&line, 1, &[&endpoint, "connection refused", "check that the nodes run"]);
    }
}

#[test]
fn nodes_can_be_named_by_the_environment() {
    let cli = Cli::new();
    let endpoint = format!("127.0.0.1:{}", free_base_port(1));
    for (endpoints, code, words) in [
        (endpoint.as_str(), 1, [endpoint.as_str(), "connection refused"]),
        ("nowhere", 2, ["RUVECTOR_ENDPOINTS", "nowhere"]),
        (" ", 1, ["no cluster is remembered", "init"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ruvector"))
            .args(["consensus", "get", "a"])
            .env("RUVECTOR_HOME", cli.home.path())
            .env("RUVECTOR_ENDPOINTS", endpoints)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{endpoints}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{endpoints}: {error}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let cli = Cli::new();
    for (line, parts) in [
        (&["get", ""][..], &["must not be empty", "--prefix"][..]),
        (&["get", "b", "--range", "a"], &["range is empty"]),
        (&["put", "", "x"], &["must not be empty"]),
        (&["txn", "--if", "age(a) = 1", "--then", "get a"], &["asks for `age`"]),
        (&["txn", "--if", "exists(a)"], &["does nothing"]),
        (&["txn", "--then", "move a"], &["begins with `move`"]),
        (&["read", "--key", "a", "--max-staleness", "5s"], &["--level stale"]),
        (&["status", "--endpoints", "127.0.0.1:1", "--cluster", "a"], &["give one of them"]),
        (&["stop", "--endpoints", "127.0.0.1:1"], &["--cluster"]),
        (&["init", "--endpoints", "127.0.0.1:1"], &["--base-port"]),
        (&["init", "--base-port", "65530"], &["65551", "--base-port"]),
        (&["init", "--name", "a", "--cluster", "b"], &["two names"]),
        (&["serve"], &["--cluster", "serve --help"]),
        (&["serve", "--cluster", "a", "--id", "node-1", "--initial-nodes", "x"], &["x", "name=host:port"]),
        (&["init", "--groups", "a=node-9"], &["node-9", "node-1 to node-3"]),
        (&["init", "--groups", "a,a"], &["names `a` twice"]),
        (&["serve", "--cluster", "a", "--id", "node-1", "--groups", "a="], &["a=", "name=node-1+node-2"]),
        (&["serve", "--config", "/no/such/file.toml"], &["/no/such/file.toml"]),
    ] {
        cli.refuses(line, 2, parts);
    }
    for line in [
        &["init", "--protocol", "paxos"][..],
        &["init", "--nodes", "0"],
        &["init", "--name", "../x"],
        &["get", "a", "--group", "a b"],
        &["get", "a", "--endpoints", "nowhere"],
        &["read", "--key", "a", "--level", "fresh"],
        &["snapshot"],
        &["snapshot", "--create", "--list"],
        &["snapshot", "--restore"],
        &["snapshot", "--list", "--name", "x"],
        &["compact-log"],
    ] {
        assert_eq!(cli.fails(line).0, 2, "{line:?}");
    }
}

#[test]
fn with_json_an_error_is_json_too() {
    let cli = Cli::new();
    let port = free_base_port(1);
    let endpoint = format!("127.0.0.1:{port}");
    for (line, code, kind, word) in [
        (&["get", "a", "--json", "--endpoints", &endpoint][..], 1, "unreachable", "connection refused"),
        (&["--json", "status"], 1, "failed", "ruvector consensus init"),
        (&["get", "", "--json"], 2, "usage", "must not be empty"),
        (&["get", "--json"], 2, "usage", "<KEY>"),
        (&["frobnicate", "--json"], 2, "usage", "frobnicate"),
        (&["get", "a", "--limit", "x", "--json"], 2, "usage", "--limit"),
    ] {
        let output = cli.run(&[&["consensus"], line].concat());
        assert_eq!(output.status.code(), Some(code), "{line:?}");
        assert!(output.stdout.is_empty(), "{line:?}");
        let error: serde_json::Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|error| panic!("{line:?}: {error}: {}", text(&output.stderr)));
        let said = error["error"].as_str().unwrap();
        assert!(said.contains(word) && !said.contains('\n'), "{line:?}: {said}");
        let expected = serde_json::json!({ "error": said, "kind": kind, "exit_code": code });
        assert_eq!(error, expected, "{line:?}");
    }
    // What follows two dashes is no flag.
    let output = cli.run(&["consensus", "get", "--", "a", "--json"]);
    assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
    let help = cli.run(&["consensus", "get", "--help", "--json"]);
    assert!(help.status.success() && text(&help.stdout).contains("Usage"));
}

#[test]
fn every_verb_has_a_manual_page() {
    let cli = Cli::new();
    let directory = cli.home.path().join("man1");
    let written = cli.run(&["man", directory.to_str().unwrap()]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    let page = |name: &str| {
        std::fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("ruvector.1").contains(".TH"));
    for verb in VERBS {
        let page = page(&format!("ruvector-consensus-{verb}.1"));
        assert!(page.contains("Example") && page.contains(".SH OPTIONS"), "{verb}: {page}");
    }
}

#[test]
fn an_unknown_setting_in_a_file_is_named_with_its_line() {
    let cli = Cli::new();
    let file = cli.home.path().join("node.toml");
    std::fs::write(&file, "cluster = \"c\"\nlisten_klient = \"127.0.0.1:1\"\n").unwrap();
    cli.refuses(&["serve", "--config", file.to_str().unwrap()], 2, &["node.toml", "line 2", "listen_klient"]);
}

#[test]
fn init_refuses_ports_in_use_and_leaves_nothing() {
    let cli = Cli::new();
    let (_listener, port) = taken_port();
    let base = port.to_string();
    cli.refuses(&["init", "--nodes", "1", "--base-port", &base], 1, &[&base, "in use", "--base-port"]);
    assert!(!cli.home.path().join("data").exists());
    assert!(!cli.home.path().join("clusters/default.json").exists());
}

#[test]
fn init_names_the_own_cluster_that_has_the_port() {
    let cli = Cli::new();
    let (_listener, port) = taken_port();
    cli.remember("mine", &format!("127.0.0.1:{port}"), "127.0.0.1:1");
    let line = ["init", "--name", "other", "--nodes", "1", "--base-port", &port.to_string()];
    cli.refuses(&line, 1, &["node-1 of your cluster `mine`"]);
}

#[test]
fn init_leaves_alone_what_exists() {
    let cli = Cli::new();
    cli.remember("mine", "127.0.0.1:1", "127.0.0.1:2");
    cli.refuses(&["init", "--name", "mine"], 1, &["`mine` exists already", "start", "destroy", "--name"]);
    let theirs = cli.home.path().join("data/mine");
    let line = ["init", "--name", "other", "--data-dir", theirs.to_str().unwrap()];
    cli.refuses(&line, 1, &["belongs to your cluster `mine`", "--data-dir"]);

    let strange = cli.home.path().join("strange");
    std::fs::create_dir_all(strange.join("node-2")).unwrap();
    let line = ["init", "--name", "other", "--data-dir", strange.to_str().unwrap()];
    cli.refuses(&line, 1, &["node-2 exists already", "--data-dir"]);
    assert!(strange.join("node-2").exists());
}

#[test]
fn destroy_asks_and_takes_no_silence_for_a_yes() {
    let cli = Cli::new();
    let port = free_base_port(1);
    cli.remember("mine", &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", port + 1));
    cli.refuses(&["destroy"], 2, &["`mine`", "--yes"]);
    let directory = cli.home.path().join("data/mine");
    assert!(directory.exists());

    assert!(cli.run(&["consensus", "destroy", "--yes"]).status.success());
    assert!(!directory.exists() && !cli.home.path().join("clusters/mine.json").exists());
}

#[test]
fn destroy_takes_no_files_from_a_process_it_did_not_start() {
    let cli = Cli::new();
    let (_listener, port) = taken_port();
    cli.remember("mine", "127.0.0.1:1", &format!("127.0.0.1:{port}"));
    cli.refuses(&["destroy", "--yes"], 1, &["node-1", &port.to_string(), "end it first"]);
    assert!(cli.home.path().join("data/mine/node-1").exists());
}

/// The path of the node's log still fits what the system allows, the path of its first segment does not.
#[cfg(target_os = "linux")]
#[test]
fn a_node_that_dies_at_its_start_is_shown_and_everything_undone() {
    const PATH_BYTES_MAX: usize = 4095;
    let cli = Cli::new();
    let port = free_base_port(1);
    let longest_kept = "/failed-start/node-1.log".len();
    let mut data = cli.home.path().join("data");
    while data.as_os_str().len() + 1 < PATH_BYTES_MAX - longest_kept {
        let room = PATH_BYTES_MAX - longest_kept - data.as_os_str().len() - 1;
        data.push("d".repeat(room.min(100)));
    }
    let data = data.to_str().unwrap();
    let line = ["consensus", "init", "--nodes", "1", "--base-port", &port.to_string(), "--data-dir", data];
    let output = cli.run(&line);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("last words of node-1"), "{error}");
    assert!(error.lines().last().unwrap().starts_with("error: node-1 ended while starting"), "{error}");
    assert!(error.contains("/failed-start"), "{error}");
    assert!(Path::new(data).join("failed-start/node-1.log").exists());
    assert!(!Path::new(data).join("node-1").exists());
    assert!(!cli.home.path().join("clusters/default.json").exists());
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    for line in [&["completion", "bash"][..], &["consensus", "stop"]] {
        let cli = Cli::new();
        cli.remember("mine", "127.0.0.1:1", "127.0.0.1:2");
        let output = with_closed_output(cli.home.path(), line);
        assert!(output.status.success(), "{line:?}: {}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{line:?}: {}", text(&output.stderr));
    }
}

/// Runs the program with a standard output whose reader is gone.
fn with_closed_output(home: &Path, line: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_ruvector"))
        .args(line)
        .env("RUVECTOR_HOME", home)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}
