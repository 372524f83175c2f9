//! Which entries followers wait for.

use std::collections::BTreeMap;

use ruvector_protocol::{Index, NodeId};

/// The entries that wait to be read, at most one wish of each follower.
#[derive(Debug, Default)]
pub(in crate::replica) struct Loads(pub(super) BTreeMap<NodeId, Load>);

/// Which entries a follower lacks.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct Load {
    pub(in crate::replica) from: Index,
    pub(in crate::replica) through: Index,
    pub(in crate::replica) bytes_max: usize,
}

impl Loads {
    /// Nobody waits any more: who leads, or in which term, has changed.
    pub(in crate::replica) fn clear(&mut self) {
        self.0.clear();
    }
}
