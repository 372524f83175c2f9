//! The cluster's groups. Each has clients, watches and a history of its own, and is judged on its own; the faults are for all.

use ruvector_client::GroupName;

/// A group of the cluster. All nodes are members of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(&'static str);

/// The one that every cluster has.
pub const METADATA: Group = Group("metadata");
/// The others.
pub const OTHERS: [Group; 1] = [Group("shard-1")];

impl Group {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(METADATA).chain(OTHERS)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Its name, as clients want it.
    ///
    /// # Panics
    /// Never: the names are good ones.
    #[must_use]
    pub fn of_clients(self) -> GroupName {
        self.0.parse().expect("the names above are good ones")
    }
}
