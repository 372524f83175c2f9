//! What a load is, and what all loads are run with.

use std::time::Duration;

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::cluster::Cluster;
use crate::drive::{Pace, Span};
use crate::recording::Outcome;
use crate::system::System;

/// One load.
pub(crate) trait Load {
    /// What it is called on the command line and in reports.
    fn name(&self) -> &'static str;

    /// What is done, in a few words for a report.
    fn description(&self) -> String;

    /// Whether the system can do what it asks for.
    fn runs_on(&self, system: System) -> bool;

    /// What it needs to find.
    fn ground(&self) -> Ground {
        Ground::Common
    }

    /// Runs it.
    ///
    /// # Errors
    /// If it could not be run. That operations failed is part of the outcome.
    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>>;
}

/// The cluster that a load runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The one that all loads of a round share.
    Common,
    /// A new one that holds [`Settings::many_keys`] keys, each written once, and nothing else.
    Filled,
    /// A new one that holds nothing.
    Empty,
}

impl Ground {
    /// All of them, in the order in which they are made.
    pub(crate) const ALL: [Self; 3] = [Self::Common, Self::Filled, Self::Empty];
}

/// How loads are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Clients of loads that don't set their number themselves.
    pub(crate) clients: usize,
    /// Connections that clients share.
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) span: Span,
    pub(crate) value_bytes: usize,
    /// The keys that most loads write and read.
    pub(crate) keys: u64,
    /// The keys of [`Ground::Filled`].
    pub(crate) many_keys: u64,
    /// The leases of the keep-alive load.
    pub(crate) leases: u64,
    /// How long systems may settle after much was written.
    pub(crate) settle: Duration,
}

/// A random number of a key, from a state that only this worker has.
pub(crate) fn random_key(random: &mut rand::rngs::SmallRng, keys: u64) -> u64 {
    use rand::RngExt;
    random.random_range(0..keys.max(1))
}

/// The random numbers of one worker; the same in every run.
pub(crate) fn worker_random(worker: usize) -> rand::rngs::SmallRng {
    use rand::SeedableRng;
    rand::rngs::SmallRng::seed_from_u64(u64::try_from(worker).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_go_their_own_ways_and_the_same_ones_each_time() {
        let draw = |worker| {
            let mut random = worker_random(worker);
            (0..8).map(|_| random_key(&mut random, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
