//! The one source of chance of a program.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded generator: the same seed and the same questions give the same answers, on every machine.
#[derive(Debug)]
pub(crate) struct Chance {
    generator: ChaCha8Rng,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A number of `low..=high`, each equally likely.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.generator.random_range(low..=high)
    }

    /// True with a probability in percent.
    pub(crate) fn percent(&mut self, percent: i64) -> bool {
        self.between(0, 99) < percent
    }

    /// One of the items, of which there must be one.
    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.generator.random_range(0..items.len())].clone()
    }

    /// One of the items, each as likely as its weight says; one of the weights at least must not be 0.
    pub(crate) fn weighted<T: Copy>(&mut self, items: &[(T, i64)]) -> T {
        let total: i64 = items.iter().map(|(_, weight)| weight).sum();
        let mut left = self.between(1, total);
        for (item, weight) in items {
            if left <= *weight {
                return *item;
            }
            left -= weight;
        }
        unreachable!("{left} is left of {total}")
    }
}
