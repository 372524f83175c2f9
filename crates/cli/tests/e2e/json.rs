//! Every field of what `--json` gives, once, with its value or, where that depends on the machine, its kind.

use serde_json::{Map, Value, json};

use crate::support::{Background, Cluster, await_some, run, ruvector};

/// What differs from run to run becomes its kind, so that the rest can be compared as it is.
fn plain(value: Value, varying: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let plain = |(key, value): (String, Value)| {
                let value =
                    if varying.contains(&key.as_str()) { kind(&value) } else { plain(value, varying) };
                (key, value)
            };
            Value::Object(fields.into_iter().map(plain).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(|item| plain(item, varying)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn kind(value: &Value) -> Value {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_u64() => "u64",
        Value::Number(_) => "number",
        Value::String(text) if text.len() == 16 && u64::from_str_radix(text, 16).is_ok() => "id",
        Value::String(text) if text.len() == 32 && u128::from_str_radix(text, 16).is_ok() => "hash",
        Value::String(_) => "text",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    kind.into()
}

fn given(cluster: &Cluster, arguments: &[&str]) -> Value {
    let text = cluster.verb(&[arguments, &["--json"]].concat()).succeeded();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

#[track_caller]
fn gives(cluster: &Cluster, arguments: &[&str], varying: &[&str], expected: &Value) {
    let value = plain(given(cluster, arguments), varying);
    assert_eq!(value, *expected, "{arguments:?}: {value:#}");
}

fn kv(key: &str, value: &str, create: i64, modified: i64, version: i64) -> Value {
    let base64 = |text: &str| match text {
        "a" => "YQ==",
        "b" => "Yg==",
        "1" => "MQ==",
        "2" => "Mg==",
        other => panic!("what is {other} in base64?"),
    };
    json!({
        "key": key, "key_base64": base64(key), "value": value, "value_base64": base64(value),
        "create_revision": create, "mod_revision": modified, "version": version, "lease": null,
    })
}

#[test]
fn keys() {
    let cluster = Cluster::start(1);
    gives(&cluster, &["put", "a", "1"], &[], &json!({ "revision": 2, "previous": null }));
    gives(&cluster, &["put", "a", "2"], &[], &json!({ "revision": 3, "previous": null }));
    let previous = kv("a", "2", 2, 3, 2);
    gives(&cluster, &["put", "a", "1", "--prev-kv"], &[], &json!({ "revision": 4, "previous": previous }));
    gives(&cluster, &["put", "b", "2"], &[], &json!({ "revision": 5, "previous": null }));

    let a = kv("a", "1", 2, 4, 3);
    let b = kv("b", "2", 5, 5, 1);
    let all = json!({ "revision": 5, "count": 2, "more": false, "kvs": [a, b] });
    gives(&cluster, &["get", "--prefix", ""], &[], &all);
    gives(&cluster, &["get", "a", "--range", "c"], &[], &all);
    let limited = json!({ "revision": 5, "count": 2, "more": true, "kvs": [a] });
    gives(&cluster, &["get", "--prefix", "", "--limit", "1"], &[], &limited);
    let counted = json!({ "revision": 5, "count": 2, "more": false, "kvs": [] });
    gives(&cluster, &["get", "--prefix", "", "--count-only"], &[], &counted);
    let older = json!({ "revision": 5, "count": 1, "more": false, "kvs": [kv("a", "2", 2, 3, 2)] });
    gives(&cluster, &["get", "a", "--revision", "3"], &[], &older);
    let mut bare = kv("b", "2", 5, 5, 1);
    (bare["value"], bare["value_base64"]) = (json!(""), json!(""));
    let keys_only = json!({ "revision": 5, "count": 1, "more": false, "kvs": [bare] });
    gives(&cluster, &["get", "b", "--keys-only"], &[], &keys_only);

    for level in ["strong", "lease", "stale"] {
        let read = json!({
            "kv": a, "level": level, "max_staleness_us": "u64", "node": "node-1", "applied_index": "u64", "revision": 5,
        });
        let varying = ["max_staleness_us", "applied_index"];
        gives(&cluster, &["read", "--key", "a", "--level", level], &varying, &read);
    }

    let txn = [
        "txn",
        "--if",
        "value(a) = 1",
        "--then",
        "put b 1",
        "--then",
        "get b",
        "--then",
        "del a",
        "--else",
        "get a",
    ];
    let new_b = kv("b", "1", 5, 6, 2);
    let got = json!({ "revision": 6, "count": 1, "more": false, "kvs": [new_b] });
    let done = json!({ "succeeded": true, "revision": 6, "responses": [
        { "put": { "revision": 6, "previous": null } },
        { "get": got },
        { "del": { "deleted": 1, "previous": [] } },
    ]});
    gives(&cluster, &txn, &[], &done);
    let nothing = json!({ "revision": 6, "count": 0, "more": false, "kvs": [] });
    let otherwise = json!({ "succeeded": false, "revision": 6, "responses": [{ "get": nothing }] });
    gives(&cluster, &txn, &[], &otherwise);

    let script = json!({ "if": ["exists(b)"], "then": ["get a"], "else": ["put a 1"] }).to_string();
    let ran = run(ruvector(&cluster.home).args(["txn", "--file", "-", "--json"]), &script).succeeded();
    let expected = json!({ "succeeded": true, "revision": 6, "responses": [{ "get": nothing }] });
    assert_eq!(serde_json::from_str::<Value>(&ran).unwrap(), expected);

    gives(&cluster, &["del", "b"], &[], &json!({ "revision": 7, "deleted": 1, "previous": [] }));
    gives(&cluster, &["put", "b", "2"], &[], &json!({ "revision": 8, "previous": null }));
    let deleted = json!({ "revision": 9, "deleted": 1, "previous": [kv("b", "2", 8, 8, 1)] });
    gives(&cluster, &["del", "--prefix", "b", "--prev-kv"], &[], &deleted);
    gives(&cluster, &["del", "b"], &[], &json!({ "revision": 9, "deleted": 0, "previous": [] }));
}

/// A result is told and the code says that it is not what was asked for.
#[test]
fn a_key_that_does_not_exist() {
    let cluster = Cluster::start(1);
    for line in [&["get", "a"][..], &["read", "--key", "a"], &["read", "--key", "a", "--level", "stale"]] {
        let ran = cluster.verb(&[line, &["--json"]].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!("not-found"), &json!(1)), "{ran:?}");
        let result: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(result["kv"].is_null() && result["revision"] == 1, "{ran:?}");
    }
    assert_eq!(given(&cluster, &["get", "a", "--count-only"])["count"], 0);
    assert_eq!(given(&cluster, &["get", "--prefix", "a"])["kvs"], json!([]));
}

/// What is asked of all nodes, when they all have applied the same.
#[test]
fn nodes() {
    let cluster = Cluster::start(3);
    cluster.verb(&["put", "a", "1"]).succeeded();
    let leader = cluster.leader();
    let leader_id = format!("node-{}", leader + 1);
    let node = &cluster.nodes[leader];
    let quorum = json!({
        "holds": true, "voters": ["node-1", "node-2", "node-3"], "needed": 2, "present": ["node-1", "node-2", "node-3"],
        "absent": [], "may_fail": 1, "troubles": [],
    });
    await_some("all nodes that follow", || (given(&cluster, &["quorum", "--check"]) == quorum).then_some(()));
    let shown = json!({
        "leader": leader_id, "member_id": "id", "client": node.client, "peer": node.peer, "term": "u64", "commit_index": "u64",
    });
    gives(&cluster, &["leader", "--show"], &["member_id", "term", "commit_index"], &shown);

    // The leader proposes how long history is kept a while after it was elected.
    await_some("how long history is kept, on all nodes", || {
        let status = given(&cluster, &["status"]);
        let knows = |node: &Value| node["status"]["group"]["store"]["retention"]["age_ms"] == 3_600_000;
        status["nodes"].as_array().unwrap().iter().all(knows).then_some(())
    });
    cluster.await_agreement();
    let by_one = given(&cluster, &["status", "--endpoints", &cluster.nodes[0].client]);
    assert_eq!(by_one["nodes"].as_array().unwrap().len(), 3, "those that the one knows of are asked as well");
    status_of_three(&cluster, leader, &quorum);

    let entry = json!({
        "index": "u64", "term": "u64", "time_ms": "u64", "kind": "text", "origin": "text", "command_bytes": "u64", "description": "text",
    });
    let tail = await_some("a command as the newest entry", || {
        let tail = given(&cluster, &["log", "--tail", "1"]);
        (tail["entries"][0]["kind"] == "command").then_some(tail).or_else(|| {
            cluster.verb(&["put", "a", "1"]).succeeded();
            None
        })
    });
    let varying = ["index", "term", "time_ms", "kind", "origin", "command_bytes", "description"];
    assert_eq!(plain(tail, &varying), json!({ "node": leader_id, "entries": [entry] }));
    let other = (leader + 1) % 3;
    let tail = given(&cluster, &["log", "--tail", "2", "--endpoints", &cluster.nodes[other].client]);
    assert_eq!(tail["node"], format!("node-{}", other + 1), "the one that was named");
    assert_eq!(tail["entries"].as_array().unwrap().len(), 2);
}

/// All fields of `status`, of three nodes that have applied the same.
fn status_of_three(cluster: &Cluster, leader: usize, quorum: &Value) {
    let names = ["node-1", "node-2", "node-3"];
    let named = |name: &str| json!({ "id": "id", "name": name });
    let leader_id = names[leader];
    let varying = [
        "applied_index",
        "cluster_id",
        "cluster_time_ms",
        "commit_index",
        "dropped_messages",
        "first_index",
        "heard_us_ago",
        "lag",
        "last_index",
        "last_term",
        "leader_changes",
        "log_bytes",
        "log_syncs",
        "matched_index",
        "pending_proposals",
        "received_bytes",
        "sent_bytes",
        "snapshot_index",
        "staleness_us",
        "state_hash",
        "store_bytes",
        "term",
        "version",
    ];
    let mut status = plain(given(cluster, &["status"]), &varying);
    plain_ids(&mut status);
    let others =
        |node: usize| names.into_iter().enumerate().filter(move |other| other.0 != node).map(|other| other.1);
    for (position, found) in status["nodes"].as_array_mut().unwrap().iter_mut().enumerate() {
        let node = &cluster.nodes[position];
        let leads = position == leader;
        let of_leader = |value: Value| if leads { value } else { Value::Null };
        let peer = |name| {
            json!({
                "peer": named(name), "matched_index": kind_if(leads, "u64"), "commit_index": kind_if(leads, "u64"),
                "state": of_leader(json!("replicate")), "heard_us_ago": kind_if(leads, "u64"), "unmatched_us": null,
                "contradicts_index": null,
            })
        };
        let connection = |name| {
            json!({
                "peer": named(name), "connected": true, "sent_bytes": "u64", "received_bytes": "u64",
                "dropped_messages": "u64",
            })
        };
        let store = json!({
            "revision": 2, "compacted_revision": 0, "key_count": 1, "bytes": "u64", "lease_count": 0, "history_count": 1,
            "retention": { "age_ms": 3_600_000, "bytes": 536_870_912 },
        });
        let bytes = &mut found["status"]["group"]["store"]["bytes"];
        *bytes = kind(bytes);
        let group = json!({
            "name": "metadata", "id": "id", "trouble": null, "role": if leads { "leader" } else { "follower" },
            "leader": named(leader_id), "term": "u64", "commit_index": "u64", "applied_index": "u64", "first_index": "u64",
            "last_index": "u64", "last_term": "u64", "voters": names.map(named), "cluster_time_ms": "u64",
            "state_hash": "hash", "staleness_us": "u64", "pending_proposals": "u64", "leader_changes": "u64",
            "snapshot_index": "null", "unheard": [], "differs_at_index": null,
            "peers": others(position).map(peer).collect::<Value>(), "store": store,
        });
        let members = cluster.nodes.iter().map(|node| {
            json!({
                "id": "id", "name": node.id, "peer_address": node.peer, "client_address": node.client,
            })
        });
        let told = json!({
            "node": named(&node.id), "version": "text", "cluster": named("e2e"), "client_address": node.client,
            "peer_address": node.peer, "members": members.collect::<Value>(),
            "connections": others(position).map(connection).collect::<Value>(), "log_bytes": "u64", "log_syncs": "u64",
            "group": group, "other_groups": [],
        });
        let expected = json!({
            "id": node.id, "client": node.client, "reachable": true, "error": null, "lag": "u64", "status": told,
        });
        assert_eq!(*found, expected, "{found:#}");
    }
    status["nodes"].take();
    let group = json!({
        "name": "metadata", "id": "id", "leader": leader_id, "term": "u64", "commit_index": "u64", "members": names,
        "revision": 2, "key_count": 1, "store_bytes": "u64", "trouble": null,
    });
    let expected = json!({
        "cluster": "e2e", "cluster_id": "id", "leader": leader_id, "term": "u64", "quorum": quorum, "nodes": null,
        "group": "metadata", "groups": [group],
    });
    assert_eq!(status, expected, "{status:#}");
}

fn kind_if(is_known: bool, kind: &str) -> Value {
    if is_known { json!(kind) } else { json!("null") }
}

/// What has a number for an id gets its kind. Lists of named things are put in order.
fn plain_ids(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "id" && kind(value) == "id" {
                    *value = json!("id");
                }
                plain_ids(value);
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(plain_ids);
            items.sort_by_key(|item| {
                [&item["name"], &item["peer"]["name"], &item["id"]].map(ToString::to_string)
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What nodes do for themselves, and the life of a cluster.
#[test]
fn files_and_processes() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    cluster.verb(&["put", "a", "1"]).succeeded();
    let of_node = |fields: Value| {
        let mut all = json!({ "node": "node-1", "client": node.client, "error": null });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!([all])
    };
    let snapshot = json!({
        "name": "s", "index": "u64", "term": "u64", "time_ms": "u64", "file_bytes": "u64", "automatic": false,
        "damage": null,
    });
    let varying = ["index", "term", "time_ms", "file_bytes"];
    let created = json!({ "name": "s", "nodes": of_node(json!({ "result": snapshot })) });
    gives(&cluster, &["snapshot", "--create", "--name", "s"], &varying, &created);
    let listed = json!({ "nodes": of_node(json!({ "result": [snapshot] })) });
    gives(&cluster, &["snapshot", "--list"], &varying, &listed);
    let compacted = json!({ "before_index": 2, "nodes": of_node(json!({ "first_index": 2 })) });
    gives(&cluster, &["compact-log", "--before-index", "2"], &[], &compacted);

    let stopped = json!({ "cluster": "e2e", "stopped": ["node-1"], "killed": [] });
    gives(&cluster, &["stop"], &[], &stopped);
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let started = json!({
        "cluster": "e2e", "cluster_id": cluster.cluster_id, "leader": "node-1", "endpoints": node.client,
        "nodes": [{
            "id": "node-1", "client": node.client, "peer": node.peer, "pid": "u64", "data_dir": text(node.data_dir.clone()),
            "log": text(node.data_dir.join("node.log")),
        }],
    });
    gives(&cluster, &["start"], &["pid"], &started);
}

#[test]
fn events() {
    let cluster = Cluster::start(1);
    for line in [&["put", "a", "1"][..], &["put", "a", "2"], &["del", "a"]] {
        cluster.verb(line).succeeded();
    }
    let mut watch = ruvector(&cluster.home);
    watch.args(["watch", "a", "--revision", "2", "--prev-kv", "--json"]);
    let (_watch, lines) = Background::start(&mut watch);
    let (one, two) = (kv("a", "1", 2, 2, 1), kv("a", "2", 2, 3, 2));
    let deleted = json!({
        "key": "a", "key_base64": "YQ==", "value": "", "value_base64": "", "create_revision": 0, "mod_revision": 4,
        "version": 0, "lease": null,
    });
    let events = [
        json!({ "event": "put", "revision": 2, "kv": one, "previous": null }),
        json!({ "event": "put", "revision": 3, "kv": two, "previous": one }),
        json!({ "event": "delete", "revision": 4, "kv": deleted, "previous": two }),
    ];
    let events = events.map(|event| event.to_string());
    lines.expect(&events.each_ref().map(String::as_str));
}
