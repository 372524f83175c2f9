//! Bugs that are planted on purpose are found soon, and it is they that are found.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use ruvector_simulator::pool::{available_threads, simulate_many};
use ruvector_simulator::{Options, Outcome, PlantedBug, simulate};

/// Within how many seeds a bug must be found.
const SEEDS: u64 = 1_500;

/// The first outcome with a violation.
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

/// Finds a bug, and shows that it was this bug that was found.
fn find(bug: PlantedBug) -> Result<String, String> {
    let options = Options { planted_bug: Some(bug), traced: false };
    let found = first_failure(options).ok_or(format!("{} is not found in {SEEDS} seeds", bug.name()))?;
    let violation = found.violation.as_ref().unwrap();
    let line = format!("{:<28} seed {:>3}  {:?}", bug.name(), found.seed, violation.rule);
    assert_eq!(simulate(found.seed, options), found, "the seed fails in the same way again");
    match simulate(found.seed, Options::default()).violation {
        Some(violation) => Err(format!("{line}, but the seed fails without the bug too: {violation}")),
        None => Ok(line),
    }
}

#[test]
fn every_planted_bug_is_found() {
    let results: Vec<_> = PlantedBug::ALL.iter().copied().map(find).collect();
    for found in results.iter().flatten() {
        println!("{found}");
    }
    let missed: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
