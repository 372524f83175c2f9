//! Some seeds, those that once failed, and what must be true of all simulations.
#![allow(clippy::unwrap_used)]

use ruvector_simulator::campaign::{Campaign, Plan};
use ruvector_simulator::pool::available_threads;
use ruvector_simulator::{Options, simulate};

/// Seeds that once showed a bug, each with what it was.
const REGRESSIONS: [(u64, &str); 3] = [
    (301, "a damaged snapshot was removed while it was being sent to another follower as well"),
    (1_795_447_798_402_873, "a judge took a leader of an earlier term, elected by a late vote, for a rival"),
    (1_795_447_798_406_678, "a judge gave a large snapshot in small chunks too little time"),
];

#[test]
fn seeds_that_once_failed_pass() {
    for (seed, bug) in REGRESSIONS {
        assert_eq!(simulate(seed, Options::default()).violation, None, "seed {seed} again: {bug}");
    }
}

/// The first seeds pass, and every kind of fault and of success is among them.
#[test]
fn the_first_seeds_pass_and_show_every_fault() {
    let (seeds, threads) = (0..300, available_threads());
    let plan = Plan { seeds, time_max: None, failures_max: 1, threads, options: Options::default() };
    let campaign = Campaign::run(&plan, |_| {});
    if let [failure, ..] = campaign.failures.as_slice() {
        panic!("{:?}: cargo xtask simulate --seed {}", failure.violation, failure.seed);
    }
    for (label, count) in campaign.statistics.counts() {
        let may_be_missing = label == "key histories too large to search";
        assert!(count > 0 || may_be_missing, "there were no {label}");
    }
}

#[test]
fn a_seed_is_the_same_simulation_every_time() {
    for seed in 1_000..1_010 {
        let first = simulate(seed, Options::default());
        assert_eq!(simulate(seed, Options::default()), first);
    }
    let hashes: std::collections::BTreeSet<u64> =
        (1_000..1_010).map(|seed| simulate(seed, Options::default()).trace_hash).collect();
    assert_eq!(hashes.len(), 10, "different seeds are different simulations");
}
