//! Bugs that are planted on purpose are found soon, and it is they that are found.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use ruvector_protocol::PlantedBug;
use ruvector_simulator::pool::{available_threads, simulate_many};
use ruvector_simulator::{Options, Outcome, Rule, simulate};

/// Within how many seeds a bug must be found.
const SEEDS: u64 = 500;

fn first_failure(options: Options) -> Option<Outcome> {
    let mut found: Option<Outcome> = None;
    simulate_many(0..SEEDS, options, available_threads(), |outcome| match outcome.violation {
        Some(_) => {
            let is_first = found.as_ref().is_none_or(|found| outcome.seed < found.seed);
            if is_first {
                found = Some(outcome);
            }
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    });
    found
}

#[track_caller]
fn is_found(bug: PlantedBug, rules: &[Rule]) {
    let options = Options { planted_bug: Some(bug), traced: false };
    let found = first_failure(options).unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} seeds"));
    let violation = found.violation.as_ref().unwrap();
    assert!(rules.contains(&violation.rule), "seed {}: {violation}", found.seed);
    assert_eq!(simulate(found.seed, options), found, "the seed fails in the same way again");
    let without = simulate(found.seed, Options::default());
    assert_eq!(without.violation, None, "seed {} fails without the bug too", found.seed);
}

#[test]
fn a_vote_that_leaves_before_it_is_durable_is_found() {
    let rules = [Rule::OneVotePerTerm, Rule::ElectionSafety, Rule::LogMatching, Rule::LeaderCompleteness];
    is_found(PlantedBug::VoteBeforeDurable, &rules);
}

#[test]
fn a_commit_of_an_older_term_by_counting_is_found() {
    let rules = [Rule::LeaderCompleteness, Rule::CommittedEntriesStay, Rule::EventAgreement, Rule::NoPanic];
    is_found(PlantedBug::CommitOlderTermByCounting, &rules);
}

#[test]
fn a_read_index_before_the_no_op_is_found() {
    let rules = [Rule::RealTimeOrder, Rule::Linearizability];
    is_found(PlantedBug::ReadIndexBeforeNoop, &rules);
}
