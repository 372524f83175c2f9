//! What happened, as a running hash that two runs of a seed must share, and as text for people.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Collects everything that happens in a simulation.
#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    events: u64,
    printed: bool,
}

impl Trace {
    /// A trace that is printed to standard output, or only hashed.
    #[must_use]
    pub fn new(printed: bool) -> Self {
        Self { hasher: DefaultHasher::new(), events: 0, printed }
    }

    /// Something happened. `facts` go into the hash; `text` is for people and only made if it is printed.
    pub fn record(&mut self, now_us: u64, place: Place, facts: impl Hash, text: impl FnOnce() -> String) {
        self.events += 1;
        (now_us, place, facts).hash(&mut self.hasher);
        if self.printed {
            println!("{:>12.6} s  {place:<9} {}", f64_seconds(now_us), text());
        }
    }

    /// A remark for people, which is not part of what happened.
    pub fn remark(&self, now_us: u64, place: Place, text: impl FnOnce() -> String) {
        if self.printed {
            println!("{:>12.6} s  {place:<9} {}", f64_seconds(now_us), text());
        }
    }

    /// Whether texts are wanted.
    #[must_use]
    pub fn is_printed(&self) -> bool {
        self.printed
    }

    /// How many things happened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At a node.
    Node(u64),
    /// At a client.
    Client(usize),
    /// Outside: faults and the end.
    World,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.pad(&format!("node {node}")),
            Self::Client(client) => f.pad(&format!("client {client}")),
            Self::World => f.pad("world"),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn f64_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
