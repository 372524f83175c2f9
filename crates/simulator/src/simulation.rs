//! One seed from beginning to end.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::marks::Marks;
use crate::planted::PlantedBug;
use crate::statistics::Statistics;
use crate::violation::{Rule, Violation};
use crate::world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug that all nodes have, to show that it is found.
    pub planted_bug: Option<PlantedBug>,
    /// Print everything that happens.
    pub traced: bool,
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
    /// What happened.
    pub statistics: Statistics,
    /// Which rare situations it reached.
    pub marks: Marks,
    /// A hash of everything that happened: equal in every run of this seed.
    pub trace_hash: u64,
}

/// Simulates a seed. A panic of the code under test is a violation like any other.
#[must_use]
pub fn simulate(seed: u64, options: Options) -> Outcome {
    silence_caught_panics();
    let mut world = World::new(seed, options.planted_bug, options.traced);
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    CATCHING.set(false);
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            Some(Violation::new(Rule::NoPanic, LAST_PANIC.take().unwrap_or_else(|| message(&*panic))))
        }
    };
    Outcome {
        seed,
        violation,
        statistics: world.statistics,
        marks: world.marks,
        trace_hash: world.trace.hash(),
    }
}

thread_local! {
    /// Whether a panic of this thread is caught and reported with its seed.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// The last such panic, with its place in the source.
    static LAST_PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// Keeps panics that are caught from being printed in the middle of everything else.
fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                LAST_PANIC.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
