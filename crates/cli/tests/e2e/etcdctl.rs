//! Debian's `etcdctl` against a cluster: it must not notice that this is not etcd.
//!
//! What is expected here is what etcd 3.4.23 makes it print. That can be proved at any time: with
//! `RUVECTOR_TEST_ETCD` set to the endpoints of a fresh etcd cluster of three, the same tests run against that.

use std::process::Command;

use crate::support::{Background, Cluster, Lines, Ran, run};

const ETCD: &str = "RUVECTOR_TEST_ETCD";

/// A server that speaks etcd's protocol, and the program that asks it.
struct Etcdctl {
    endpoints: String,
    /// `None` if the server is somebody else's.
    cluster: Option<Cluster>,
}

impl Etcdctl {
    fn start() -> Self {
        let version = Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output();
        assert!(
            version.is_ok_and(|version| version.status.success()),
            "this test needs etcdctl: run `apt-get install etcd-client`"
        );
        if let Ok(endpoints) = std::env::var(ETCD) {
            return Self { endpoints, cluster: None };
        }
        let cluster = Cluster::start(3);
        Self { endpoints: cluster.endpoints(), cluster: Some(cluster) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments), "")
    }

    #[track_caller]
    fn prints(&self, arguments: &[&str], expected: &str) {
        assert_eq!(self.run(arguments).succeeded(), expected, "{arguments:?}");
    }

    /// With these lines to read.
    #[track_caller]
    fn prints_given(&self, input: &str, arguments: &[&str], expected: &str) {
        assert_eq!(run(&mut self.command(arguments), input).succeeded(), expected, "{arguments:?}");
    }

    /// Fails, and this is the last line of what it says.
    #[track_caller]
    fn fails(&self, ran: Ran, expected: &str) {
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:#?}");
        assert_eq!(ran.stderr.lines().last(), Some(expected), "{ran:#?}");
    }

    fn start_watch(&self, arguments: &[&str]) -> (Background, Lines) {
        Background::start(&mut self.command(arguments))
    }

    /// The newest revision.
    fn revision(&self) -> i64 {
        let json = self.run(&["get", "any", "-w", "json"]).succeeded();
        let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
        answer["header"]["revision"].as_i64().unwrap_or_else(|| panic!("{json}"))
    }

    fn grant(&self, seconds: &str) -> String {
        let granted = self.run(&["lease", "grant", seconds]).succeeded();
        let words: Vec<&str> = granted.split_whitespace().collect();
        assert_eq!(granted, format!("lease {} granted with TTL({seconds}s)\n", words[1]));
        assert!(u64::from_str_radix(words[1], 16).is_ok(), "{granted}");
        words[1].to_owned()
    }
}

#[test]
fn it_prints_as_with_etcd() {
    let etcdctl = Etcdctl::start();
    keys(&etcdctl);
    ranges(&etcdctl);
    transactions(&etcdctl);
    leases(&etcdctl);
    watches(&etcdctl);
    locks(&etcdctl);
    limits(&etcdctl);
    members(&etcdctl);
    compaction(&etcdctl);
}

fn keys(etcdctl: &Etcdctl) {
    let before = etcdctl.revision();
    etcdctl.prints(&["put", "a", "1"], "OK\n");
    assert_eq!(etcdctl.revision(), before + 1);
    etcdctl.prints(&["get", "a"], "a\n1\n");
    etcdctl.prints(&["put", "a", "2", "--prev-kv"], "OK\na\n1\n");
    etcdctl.prints(&["get", "a", "--print-value-only"], "2\n");
    etcdctl.prints(&["get", "a", "--rev", &(before + 1).to_string()], "a\n1\n");
    etcdctl.prints(&["get", "missing"], "");
    etcdctl.prints(&["del", "a", "--prev-kv"], "1\na\n2\n");
    etcdctl.prints(&["del", "a"], "0\n");
    etcdctl.prints(&["get", "a"], "");
    etcdctl.prints(&["put", "a", "3"], "OK\n");
    let fields = etcdctl.run(&["get", "a", "-w", "fields"]).succeeded();
    for field in ["\"Key\" : \"a\"", "\"Version\" : 1", "\"Value\" : \"3\"", "\"Lease\" : 0", "\"Count\" : 1"]
    {
        assert!(fields.contains(field), "no {field} in {fields}");
    }
    etcdctl.prints_given("from standard input", &["put", "a"], "OK\n");
    etcdctl.prints(&["get", "a"], "a\nfrom standard input\n");
    etcdctl.fails(etcdctl.run(&["put", "", "x"]), "Error: etcdserver: key is not provided");
    let future = etcdctl.run(&["get", "a", "--rev", "1000000"]);
    etcdctl.fails(future, "Error: etcdserver: mvcc: required revision is a future revision");
}

fn ranges(etcdctl: &Etcdctl) {
    for (key, value) in [("r/1", "c"), ("r/2", "b"), ("r/3", "a"), ("s", "x")] {
        etcdctl.prints(&["put", key, value], "OK\n");
    }
    etcdctl.prints(&["get", "r/", "--prefix"], "r/1\nc\nr/2\nb\nr/3\na\n");
    etcdctl.prints(&["get", "r/1", "r/3"], "r/1\nc\nr/2\nb\n");
    etcdctl.prints(&["get", "r/2", "--from-key"], "r/2\nb\nr/3\na\ns\nx\n");
    etcdctl.prints(&["get", "r/", "--prefix", "--limit", "2"], "r/1\nc\nr/2\nb\n");
    etcdctl.prints(&["get", "r/", "--prefix", "--keys-only"], "r/1\n\nr/2\n\nr/3\n\n");
    etcdctl.prints(&["get", "r/", "--prefix", "--order", "DESCEND"], "r/3\na\nr/2\nb\nr/1\nc\n");
    let by_value = ["get", "r/", "--prefix", "--sort-by", "VALUE", "--order", "ASCEND", "--limit", "1"];
    etcdctl.prints(&by_value, "r/3\na\n");
    etcdctl.prints(&["get", "r/", "--prefix", "--consistency", "s"], "r/1\nc\nr/2\nb\nr/3\na\n");
    etcdctl.prints(&["del", "r/", "--prefix"], "3\n");
    etcdctl.prints(&["get", "r/", "--prefix"], "");
}

fn transactions(etcdctl: &Etcdctl) {
    let compare = "value(\"t\") = \"1\"\n\nput t 2\nget t\n\nput t 1\nget t\ndel s\n\n";
    etcdctl.prints_given(compare, &["txn"], "FAILURE\n\nOK\n\nt\n1\n\n1\n");
    etcdctl.prints_given(compare, &["txn"], "SUCCESS\n\nOK\n\nt\n2\n");
    etcdctl.prints_given("version(\"none\") = \"0\"\n\nput none 1\n\n\n", &["txn"], "SUCCESS\n\nOK\n");
    etcdctl.prints_given("create(\"none\") = \"0\"\n\nput none 2\n\n\n", &["txn"], "FAILURE\n");
    etcdctl.prints_given("mod(\"none\") > \"0\"\n\ndel none\n\n\n", &["txn"], "SUCCESS\n\n1\n");
    let twice = run(&mut etcdctl.command(&["txn"]), "\nput twice 1\nput twice 2\n\n\n");
    etcdctl.fails(twice, "Error: etcdserver: duplicate key given in txn request");
}

fn leases(etcdctl: &Etcdctl) {
    let lease = etcdctl.grant("100");
    etcdctl.prints(&["put", "leased", "x", "--lease", &lease], "OK\n");
    let told = etcdctl.run(&["lease", "timetolive", &lease, "--keys"]).succeeded();
    let begin = format!("lease {lease} granted with TTL(100s), remaining(");
    assert!(told.starts_with(&begin) && told.ends_with("s), attached keys([leased])\n"), "{told}");
    assert!(etcdctl.run(&["lease", "list"]).succeeded().lines().any(|line| line == lease));
    let kept = format!("lease {lease} keepalived with TTL(100)\n");
    etcdctl.prints(&["lease", "keep-alive", "--once", &lease], &kept);
    etcdctl.prints(&["lease", "revoke", &lease], &format!("lease {lease} revoked\n"));
    etcdctl.prints(&["get", "leased"], "");
    etcdctl.prints(&["lease", "timetolive", &lease], &format!("lease {lease} already expired\n"));
    let again = etcdctl.run(&["lease", "revoke", &lease]);
    etcdctl.fails(again, "Error: failed to revoke lease (etcdserver: requested lease not found)");
    let put = etcdctl.run(&["put", "leased", "x", "--lease", &lease]);
    etcdctl.fails(put, "Error: etcdserver: requested lease not found");

    let short = etcdctl.grant("3");
    let (_watch, lines) =
        etcdctl.start_watch(&["watch", "ends", "--rev", &(etcdctl.revision() + 1).to_string()]);
    etcdctl.prints(&["put", "ends", "by itself", "--lease", &short], "OK\n");
    lines.expect(&["PUT", "ends", "by itself", "DELETE", "ends", ""]);
    etcdctl.prints(&["get", "ends"], "");
}

fn watches(etcdctl: &Etcdctl) {
    let next = (etcdctl.revision() + 1).to_string();
    let (_prefix, on_prefix) = etcdctl.start_watch(&["watch", "w/", "--prefix", "--rev", &next]);
    etcdctl.prints(&["put", "w/1", "x"], "OK\n");
    etcdctl.prints(&["put", "other", "x"], "OK\n");
    etcdctl.prints(&["put", "w/2", "y"], "OK\n");
    on_prefix.expect(&["PUT", "w/1", "x", "PUT", "w/2", "y"]);
    etcdctl.prints(&["del", "w/", "--prefix"], "2\n");
    on_prefix.expect(&["DELETE", "w/1", "", "DELETE", "w/2", ""]);
    // From the past, with what was there before.
    let (_past, from_past) = etcdctl.start_watch(&["watch", "w/1", "--prev-kv", "--rev", &next]);
    from_past.expect(&["PUT", "w/1", "x", "DELETE", "w/1", "x", "w/1", ""]);
    etcdctl.prints_given("\nput w/1 1\nput w/2 2\n\n\n", &["txn"], "SUCCESS\n\nOK\n\nOK\n");
    on_prefix.expect(&["PUT", "w/1", "1", "PUT", "w/2", "2"]);
}

fn locks(etcdctl: &Etcdctl) {
    etcdctl.prints(&["lock", "name", "echo", "locked"], "locked\n");
}

fn limits(etcdctl: &Etcdctl) {
    let large = "x".repeat(1_600_000);
    etcdctl.fails(
        run(&mut etcdctl.command(&["put", "large"]), &large),
        "Error: etcdserver: request is too large",
    );
    let puts: String = (0..129).map(|number| format!("put many/{number} x\n")).collect();
    let many = run(&mut etcdctl.command(&["txn"]), &format!("\n{puts}\n\n"));
    etcdctl.fails(many, "Error: etcdserver: too many operations in txn request");
    etcdctl.prints(&["get", "many/", "--prefix"], "");
    let largest = "x".repeat(1_500_000);
    etcdctl.prints_given(&largest, &["put", "large"], "OK\n");
    etcdctl.prints(&["del", "large"], "1\n");
}

fn members(etcdctl: &Etcdctl) {
    let listed = etcdctl.run(&["member", "list"]).succeeded();
    let mut rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split(", ").collect()).collect();
    rows.sort_by_key(|row| row[4]);
    assert_eq!(rows.len(), 3, "{listed}");
    let endpoints: Vec<&str> = etcdctl.endpoints.split(',').collect();
    for (row, endpoint) in rows.iter().zip(&endpoints) {
        assert!(u64::from_str_radix(row[0], 16).is_ok(), "{listed}");
        assert_eq!(row[1], "started", "{listed}");
        assert_eq!(row[4], format!("http://{endpoint}"), "{listed}");
        assert_eq!(row[5], "false", "{listed}");
    }
    for (row, node) in rows.iter().zip(etcdctl.cluster.iter().flat_map(|cluster| &cluster.nodes)) {
        assert_eq!((row[2], row[3]), (node.id.as_str(), format!("http://{}", node.peer).as_str()));
    }

    let status = etcdctl.run(&["endpoint", "status"]).succeeded();
    let mut statuses: Vec<Vec<&str>> = status.lines().map(|line| line.split(", ").collect()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses.len(), 3, "{status}");
    for ((columns, row), endpoint) in statuses.iter().zip(&rows).zip(&endpoints) {
        assert_eq!((columns[0], columns[1]), (*endpoint, row[0]), "{status}");
        assert_eq!(columns[5], "false", "a learner: {status}");
        assert_eq!(columns[6], statuses[0][6], "terms differ: {status}");
    }
    assert_eq!(statuses.iter().filter(|columns| columns[4] == "true").count(), 1, "one leader: {status}");

    let health = etcdctl.run(&["endpoint", "health"]);
    assert_eq!(health.code, Some(0), "{health:?}");
    assert_eq!(health.stderr.matches(" is healthy: successfully committed proposal: took = ").count(), 3);
}

fn compaction(etcdctl: &Etcdctl) {
    etcdctl.prints(&["put", "c", "old"], "OK\n");
    let old = etcdctl.revision().to_string();
    etcdctl.prints(&["put", "c", "new"], "OK\n");
    let new = etcdctl.revision().to_string();
    etcdctl.prints(&["compaction", &new], &format!("compacted revision {new}\n"));
    let compacted = "Error: etcdserver: mvcc: required revision has been compacted";
    etcdctl.fails(etcdctl.run(&["get", "c", "--rev", &old]), compacted);
    etcdctl.fails(etcdctl.run(&["compaction", &old]), compacted);
    etcdctl.prints(&["get", "c", "--rev", &new], "c\nnew\n");
    let future = etcdctl.run(&["compaction", "1000000"]);
    etcdctl.fails(future, "Error: etcdserver: mvcc: required revision is a future revision");
    let watch = etcdctl.run(&["watch", "c", "--rev", &old]);
    assert!(
        watch.stderr.contains("watch was canceled (etcdserver: mvcc: required revision has been compacted)"),
        "{watch:?}"
    );
    etcdctl.fails(watch, "Error: watch is canceled by the server");
}

/// An etcd client's own failover: it knows three endpoints, and one is dead.
#[test]
fn it_goes_on_when_a_node_is_dead() {
    let etcdctl = Etcdctl::start();
    let Some(cluster) = &etcdctl.cluster else { return };
    etcdctl.prints(&["put", "before", "x"], "OK\n");
    cluster.kill(&[cluster.leader()]);
    etcdctl.prints(&["put", "after", "y"], "OK\n");
    etcdctl.prints(&["get", "before"], "before\nx\n");
    etcdctl.prints(&["get", "after"], "after\ny\n");
}
