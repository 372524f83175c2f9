//! The one source of chance of a simulation.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded generator: the same seed and the same questions give the same answers, on every machine.
#[derive(Debug)]
pub struct Random {
    generator: ChaCha8Rng,
}

impl Random {
    /// A generator for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A number of `low..=high`, each equally likely.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.generator.random_range(low..=high)
    }

    /// A number of `low..=high`, each order of magnitude equally likely, so that small ones are common.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let orders = (high.max(1) / low.max(1)).ilog2();
        let ceiling = low.max(1) << self.between(0, u64::from(orders));
        self.between(low, ceiling.saturating_mul(2).min(high))
    }

    /// True with a probability in thousandths.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 999) < per_mille
    }

    /// An index below a length that is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.generator.random_range(0..length)
    }

    /// One of the items, `None` if there are none.
    pub fn pick<'items, T>(&mut self, items: &'items [T]) -> Option<&'items T> {
        if items.is_empty() { None } else { Some(&items[self.index(items.len())]) }
    }

    /// One of the items, each as likely as its weight says; one of the weights at least must not be 0.
    pub fn weighted<T: Copy>(&mut self, items: &[(T, u64)]) -> T {
        let total: u64 = items.iter().map(|(_, weight)| weight).sum();
        let mut left = self.between(1, total);
        for (item, weight) in items {
            if left <= *weight {
                return *item;
            }
            left -= weight;
        }
        unreachable!("{left} is left of {total}")
    }

    /// Any number: a seed for something else.
    pub fn seed(&mut self) -> u64 {
        self.generator.random_range(0..=u64::MAX)
    }
}
