//! Mistakes that can be planted, so that tests can be seen to find them.

/// A mistake that the machine can be told to make. Each is a small switch at the very rule that it breaks; without the
/// feature `planted-bugs` nothing can turn one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    // Sessions.
    /// A command that comes again in its session is applied again (against section 6.3).
    SessionRepeatApplied,
    /// A command that comes again in its session is answered with the revision of now, and not with its own (against
    /// section 6.3).
    SessionAnswerOfNow,
    /// When a snapshot is restored, its sessions count as used just then.
    SessionUseForgotten,

    // Leases, compaction and watches.
    /// A lease is renewed, and ends when it would have ended before.
    RenewalForgotten,
    /// A lease ends, and its keys stay.
    KeysOutliveLease,
    /// A restored state has no history, and does not say so.
    HistoryLostByRestore,
    /// Somebody who follows is not told that changes were compacted before they came to it.
    CompactionUnnoticed,
    /// A restored state does not know how old its history is.
    AgeLostByRestore,
}

/// The mistake that a store makes, if any. Without the feature `planted-bugs` it takes no room, and there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<PlantedBug>,
}

#[cfg(feature = "planted-bugs")]
impl From<Option<PlantedBug>> for Planted {
    fn from(bug: Option<PlantedBug>) -> Self {
        Self { bug }
    }
}

impl Planted {
    /// Whether it is this mistake.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn is(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether it is this mistake. Never without the feature `planted-bugs`.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    pub(super) const fn is(self, _bug: PlantedBug) -> bool {
        false
    }
}
