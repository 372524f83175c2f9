//! Rings of files that are known and not broken yet, see [`rings`](super::rings).

/// A ring that is allowed as it is: one that has fewer files by now, or more, is another ring.
#[derive(Debug)]
pub(super) struct Announced {
    /// Where the crate's sources lie.
    pub(super) sources: &'static str,
    /// All files of the ring, by their paths below that.
    pub(super) files: &'static [&'static str],
    /// Why it is there.
    pub(super) reason: &'static str,
}

/// All of them. Whoever breaks one takes it off.
pub(super) const ANNOUNCED: &[Announced] = &[
    Announced {
        sources: "crates/differential/src",
        files: &[
            "generate/kv.rs",
            "generate/large.rs",
            "generate/lease.rs",
            "generate/txn.rs",
            "generate/watch.rs",
            "generate.rs",
        ],
        reason: "what all generators have in common is in the module above them",
    },
    Announced {
        sources: "crates/differential/src",
        files: &["player/stream.rs", "player.rs"],
        reason: "a stream is played by the player that it is a part of",
    },
    Announced {
        sources: "crates/simulator/src",
        files: &["encoding.rs", "events.rs", "workload.rs"],
        reason: "values are read and written for the workload that is made of them",
    },
    Announced {
        sources: "crates/simulator/src",
        files: &["history/by_key.rs", "history.rs"],
        reason: "what a history is made of is in the module above the search by key",
    },
    Announced {
        sources: "crates/simulator/src",
        files: &[
            "catch_up_trap.rs",
            "clients.rs",
            "faults.rs",
            "finale.rs",
            "marks.rs",
            "rollback.rs",
            "scenario.rs",
            "sessions.rs",
            "side_groups.rs",
            "traps.rs",
            "watchers.rs",
            "world.rs",
        ],
        reason: "the world holds the state of clients, watchers and traps, and each of them acts on the world",
    },
];
