//! Several groups on the nodes of one cluster: each agrees on its own, and all share what a node has.

use serde_json::{Value, json};

use crate::support::{Cluster, await_condition};

const GROUPS: &str = "metadata,shard-1=node-1+node-2+node-3,shard-2=node-3+node-4+node-5";

fn status(cluster: &Cluster) -> Value {
    let ran = cluster.verb(&["status", "--json"]);
    serde_json::from_str(&ran.succeeded()).unwrap()
}

fn get(cluster: &Cluster, group: &str) -> String {
    cluster.verb(&["get", "--group", group, "key"]).succeeded().trim_end().to_owned()
}

#[test]
fn each_group_has_keys_of_its_own_which_survive_the_death_of_all_nodes() {
    let mut cluster = Cluster::start_with(5, &["--groups", GROUPS]);
    for group in ["metadata", "shard-1", "shard-2"] {
        cluster.verb(&["put", "--group", group, "key", &format!("of {group}")]).succeeded();
    }
    let told = status(&cluster);
    let all = ["node-1", "node-2", "node-3", "node-4", "node-5"];
    let groups = told["groups"].as_array().unwrap();
    for (group, members) in groups.iter().zip([&all[..], &all[..3], &all[2..]]) {
        assert_eq!(group["members"], json!(members));
        assert_eq!((&group["revision"], &group["key_count"]), (&json!(2), &json!(1)), "{group:#}");
    }
    assert_eq!(groups.len(), 3);
    assert_eq!(told["group"], "metadata");

    cluster.kill(&[0, 1, 2, 3, 4]);
    cluster.start_missing();
    for group in ["metadata", "shard-1", "shard-2"] {
        assert_eq!(get(&cluster, group), format!("of {group}"));
    }
}

#[test]
fn a_group_without_a_quorum_holds_up_no_other() {
    let cluster = Cluster::start_with(5, &["--groups", GROUPS]);
    cluster.kill(&[0, 1]);
    for group in ["metadata", "shard-2"] {
        await_condition(&format!("{group} goes on"), || {
            cluster.verb(&["put", "--group", group, "key", "value"]).code == Some(0)
        });
    }
    cluster.verb(&["put", "--group", "shard-1", "key", "value"]).failed_saying(&["quorum"]);
    let quorum = cluster.verb(&["quorum", "--check", "--group", "shard-1", "--json"]);
    assert!(quorum.code.is_some_and(|code| code != 0), "{quorum:?}");
    let told = status(&cluster);
    let keys = |name: &str| {
        let groups = told["groups"].as_array().unwrap();
        groups.iter().find(|group| group["name"] == name).unwrap()["key_count"].clone()
    };
    assert_eq!([keys("metadata"), keys("shard-1"), keys("shard-2")], [json!(1), json!(0), json!(1)]);
}

#[test]
fn a_group_that_there_is_not_is_named() {
    let cluster = Cluster::start_with(1, &["--groups", "shard-1"]);
    let get = ["get", "--group", "shard-9", "key"];
    cluster.verb(&get).failed_saying(&["shard-9", "metadata, shard-1"]);
    cluster.verb(&["get", "--group", "a b", "key"]).failed_saying(&["no name of a group"]);
    let restore = ["snapshot", "--restore", "--from", "any", "--yes"];
    cluster.verb(&restore).failed_saying(&["a snapshot is of one group"]);
}
