//! The keys of the load.

use std::fmt;

/// A key that clients share. Each round has keys of its own, so that no key's history grows without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Counted on with every fault.
    pub round: u32,
    /// Which of the round's.
    pub number: u32,
}

/// What all keys begin with.
pub const PREFIX: &str = "chaos/";

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{:05}/{}", self.round, self.number)
    }
}
