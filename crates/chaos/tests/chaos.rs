//! A short run: each fault that is cheap, once.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ruvector_chaos::fault::Kind;
use ruvector_chaos::requirements::Obstacle;
use ruvector_chaos::{Options, cluster, requirements, run};

#[test]
fn nodes_keep_every_promise_under_each_fault() {
    match requirements::obstacle() {
        None => {}
        Some(Obstacle::NotInstalled(what)) => panic!("{what}"),
        Some(Obstacle::NotPermitted(why)) => {
            eprintln!("chaos: SKIPPED: {why}");
            return;
        }
    }
    let kinds = vec![Kind::KillOne, Kind::KillAll, Kind::Pause, Kind::CutFromPeers, Kind::PartialPartition];
    let options = Options {
        program: cluster::program_beside().unwrap(),
        seed: 1,
        time: Duration::MAX,
        faults_max: kinds.len(),
        kinds,
        tell: |line| println!("{line}"),
    };
    let report = run(&options).unwrap();
    println!("{report}");
    assert_eq!(report.violations, [""; 0]);
    assert_eq!(report.faults.len(), options.kinds.len());
    assert!(report.operations.ok > 100, "{report}");
    assert!(report.watches.events > 100, "{report}");
    // By etcd's API and the native protocol, each a get and a transaction, and under the lease: by those who stay with one of
    // the three nodes, and all but the last by those who ask any.
    assert_eq!(report.reads.len(), 5 * 3 + 4, "{report}");
}
