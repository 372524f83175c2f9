//! Many seeds at a time.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::simulation::{Options, Outcome, simulate};

/// Simulates seeds on several threads, in ascending order as far as threads allow, and hands every outcome to
/// `judge`, one at a time. Stops taking new seeds when `judge` breaks.
pub fn simulate_many(
    seeds: Range<u64>,
    options: Options,
    threads: usize,
    judge: impl FnMut(Outcome) -> ControlFlow<()> + Send,
) {
    let next = AtomicU64::new(seeds.start);
    let enough = AtomicBool::new(false);
    let judge = Mutex::new(judge);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = simulate(seed, options);
                    let mut judge = judge.lock().unwrap_or_else(PoisonError::into_inner);
                    if judge(outcome).is_break() {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// As many threads as the machine runs at a time.
#[must_use]
pub fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
