#![allow(clippy::unwrap_used)]

use super::*;

const FULL: &str = r#"
cluster = "prod"
id = "node-2"
data_dir = "/var/lib/ruvector"
listen_client = "127.0.0.1:7410"
listen_peer = "127.0.0.1:7411"
log_level = "debug"
log_file = "node.log"

[initial_nodes]
node-1 = "127.0.0.1:7401"
node-2 = "127.0.0.1:7411"

[limits]
txn_operations = 64

[retention]
age_seconds = 60

[tuning]
heartbeat_interval_ms = 50
election_timeout_ms = 500
"#;

fn error_of(text: &str) -> String {
    ServerOptions::from_toml("node.toml", text).unwrap_err().to_string()
}

#[test]
fn a_file_fills_in_defaults_around_what_it_says() {
    let config = ServerOptions::from_toml("node.toml", FULL).unwrap().into_config().unwrap();
    assert_eq!(config.id, "node-2");
    assert_eq!(config.initial_nodes.len(), 2);
    assert_eq!(config.limits, Limits { txn_operations: 64, ..Limits::default() });
    assert_eq!(config.tuning.election_timeout_ms, 500);
    assert_eq!(config.tuning.snapshot_entries, Tuning::default().snapshot_entries);
    assert_eq!(config.client_threads, 1);
    assert_eq!(config.retention, Retention { age_ms: Some(60_000), bytes: Some(512 << 20) });
    assert!(!config.insecure);
}

#[test]
fn flags_win_over_the_file() {
    let file = ServerOptions::from_toml("node.toml", FULL).unwrap();
    let flags = ServerOptions {
        listen_client: Some("127.0.0.1:9999".to_owned()),
        insecure: Some(true),
        retention: RetentionOptions { bytes: Some(1 << 20), age_seconds: None },
        ..ServerOptions::default()
    };
    let config = flags.or(file).into_config().unwrap();
    assert_eq!(config.listen_client, "127.0.0.1:9999");
    assert_eq!(config.listen_peer, "127.0.0.1:7411");
    assert!(config.insecure);
    assert_eq!(config.retention, Retention { age_ms: Some(60_000), bytes: Some(1 << 20) });
}

#[test]
fn history_is_kept_for_an_hour_unless_told_and_for_ever_by_0() {
    let retention = |retention: RetentionOptions| retention.into_retention().unwrap();
    let hour = Retention { age_ms: Some(3_600_000), bytes: Some(512 << 20) };
    assert_eq!(retention(RetentionOptions::default()), hour);
    let off = RetentionOptions { age_seconds: Some(0), bytes: Some(0) };
    assert_eq!(retention(off), Retention::default());
}

#[test]
fn what_is_written_is_read_back() {
    let options = ServerOptions::from_toml("node.toml", FULL).unwrap();
    assert_eq!(ServerOptions::from_toml("again", &options.to_toml()).unwrap(), options);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_valid_ones() {
    let text = error_of("cluster = \"a\"\nlisten = \"127.0.0.1:1\"\n");
    assert!(text.starts_with("node.toml, line 2: unknown field `listen`"), "{text}");
    assert!(text.contains("listen_client"), "{text}");
    let text = error_of("[limits]\nrequest_byte = 1\n");
    assert!(text.starts_with("node.toml, line 2: unknown field `request_byte`"), "{text}");
    let text = error_of("[tuning]\n\nheartbeat = 1\n");
    assert!(text.starts_with("node.toml, line 3: unknown field `heartbeat`"), "{text}");
}

#[test]
fn what_is_no_toml_is_one_line() {
    let text = error_of("cluster = \n");
    assert!(text.starts_with("node.toml, line 1: "), "{text}");
    assert_eq!(text.lines().count(), 1);
    let text = error_of("id = 7\n");
    assert!(text.contains("expected a string"), "{text}");
}

#[test]
fn what_is_missing_is_named_with_its_flag() {
    let options = ServerOptions { cluster: Some("a".to_owned()), ..ServerOptions::default() };
    assert_eq!(
        options.into_config().unwrap_err().to_string(),
        "`id` is missing: give --id or set it in the configuration file"
    );
}

#[test]
fn values_without_sense_are_refused() {
    let with = |extra: &str| {
        let options = ServerOptions::from_toml("node.toml", extra).unwrap();
        options
            .or(ServerOptions::from_toml("node.toml", FULL).unwrap())
            .into_config()
            .unwrap_err()
            .to_string()
    };
    assert!(with("client_threads = 0").contains("from 1 to 1024"));
    assert!(with("id = \"node-3\"").contains("must name this node, `node-3`"));
    assert!(with("[limits]\nconnections = 0").contains("limits.connections"));
    assert!(with("[limits]\nrequest_bytes = 1000000000").contains("from 1 to 16777216"));
    assert!(with("[limits]\nwatch_progress_seconds = 0").contains("limits.watch_progress_seconds"));
    assert!(with("[retention]\nbytes = 1000").contains("retention.bytes"));
    assert!(with("[retention]\nage_seconds = 1000000000000").contains("retention.age_seconds"));
    assert!(with("[tuning]\nelection_timeout_ms = 80").contains("must be from 90 to 60000, not 80"));
    assert!(with("[tuning]\ngather_max_us = 1000001").contains("must be from 0 to 1000000, not 1000001"));
}

#[test]
fn the_flag_for_initial_nodes_is_checked() {
    let nodes = parse_initial_nodes("a=127.0.0.1:1, b=[::1]:2,").unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes["b"], "[::1]:2");
    for (text, reason) in [
        ("a", "not of the form"),
        ("a=", "not of the form"),
        ("a=host", "not of the form"),
        ("=h:1", "not of the form"),
        ("a=h:1,a=h:2", "names `a` twice"),
        ("a=h:1,b=h:1", "the address h:1 twice"),
    ] {
        let error = parse_initial_nodes(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn groups_are_named_with_their_members_or_have_all_nodes() {
    let parsed = parse_groups("metadata, shard-1,shard-2=node-1+node-3,").unwrap();
    let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected =
        [("metadata", members(&[])), ("shard-1", members(&[])), ("shard-2", members(&["node-1", "node-3"]))];
    assert!(parsed.iter().map(|(name, members)| (name.as_str(), members.clone())).eq(expected));
    for (text, complaint) in [("a,a", "names `a` twice"), ("a=", "form"), ("=node-1", "form")] {
        let error = parse_groups(text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
