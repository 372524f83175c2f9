//! Counts that show that faults really happened and that the system really worked.

macro_rules! counters {
    ($(#[$about:meta])* $counters:ident { $($(#[$doc:meta])* $name:ident: $label:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl $counters {
            /// Every count with its name in words, in order.
            #[must_use]
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$(($label, self.$name),)*]
            }
        }

        impl std::ops::AddAssign for $counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl std::fmt::Display for $counters {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.counts().into_iter().try_for_each(|(label, count)| writeln!(f, "  {count:>14}  {label}"))
            }
        }
    };
}
pub(crate) use counters;

counters! {
/// What happened in one or many simulations.
Statistics {
    /// Things that happened.
    events: "events",
    /// Simulated time, in microseconds.
    simulated_us: "simulated microseconds",
    /// Disks that were rolled back.
    rolled_back_disks: "disks rolled back",
    /// Messages that were sent.
    messages: "messages sent",
    /// Messages that were lost, cut links included.
    messages_lost: "messages lost",
    /// Messages that arrived twice.
    messages_duplicated: "messages duplicated",
    /// Flushes of a replica's log.
    flushes: "log flushes",
    /// Terms in which somebody led.
    leaders: "leaders elected",
    /// Entries that were committed.
    committed: "entries committed",
    /// Snapshots that a node wrote of its own state.
    snapshots_written: "snapshots written",
    /// Snapshots of a peer that a node went on from.
    snapshots_installed: "snapshots installed",
    /// Commands that were answered.
    writes_answered: "writes answered",
    /// Commands whose outcome stayed unknown.
    writes_unknown: "writes of unknown outcome",
    /// Commands that were refused.
    writes_refused: "writes refused",
    /// Sessions that clients opened.
    sessions_opened: "sessions opened",
    /// Writes that a client sent again in its session.
    writes_repeated: "writes sent again in their session",
    /// Strong and lease reads that were answered.
    reads_answered: "reads answered",
    /// Stale reads that were answered.
    stale_reads_answered: "stale reads answered",
    /// Changes that watchers were told.
    watch_events: "changes told to watchers",
    /// Reads of older revisions that were answered.
    recalls_answered: "reads of older revisions answered",
    /// Reads that were not answered.
    reads_refused: "reads refused",
    /// Keys whose history was too large to search for an order; the order of revisions was checked all the same.
    undecided_keys: "key histories too large to search",
    /// Leases that were granted.
    leases_granted: "leases granted",
    /// Processes that were killed; what they had written survived.
    kills: "processes killed",
    /// Machines that lost power; what was not synced was lost or torn.
    power_losses: "power losses",
    /// Times that all nodes went down together.
    total_outages: "total outages",
    /// Machines that stopped at an operation of their disk.
    disk_halts: "halts within a disk operation",
    /// Operations of a disk that failed.
    disk_errors: "failed disk operations",
    /// Crashes right after a message was sent.
    crashes_at_send: "crashes right after a send",
    /// Leaders that were cut off soon after they began to replicate.
    leaders_chased: "leaders chased",
    /// Starts of a node after the first.
    restarts: "restarts",
    /// Bits that were flipped on disks.
    bit_flips: "bits flipped",
    /// Nodes that refused to start on, or stopped at, a flipped bit.
    corruptions_noticed: "corruptions noticed",
    /// Times that a disk had no space left.
    full_disks: "full disks",
    /// Times that a disk was slow.
    slow_disks: "slow disks",
    /// Cuts into two halves.
    partitions: "partitions",
    /// Cuts of one direction of a link.
    one_way_cuts: "one-way cuts",
    /// Nodes that were cut off alone.
    isolations: "isolations",
    /// Nodes that were down for long.
    long_absences: "long absences",
    /// Logs that were dropped up to the applied index on an operator's demand.
    forced_compactions: "forced compactions",
    /// Links that went up and down.
    flapping_links: "flapping links",
    /// Times that a node got no time to run.
    pauses: "pauses",
    /// Leaders that were replaced as fast as can be, and asked to read.
    ambushes: "ambushes",
    /// Voters that crashed as they voted.
    crashes_at_vote: "crashes right after a vote",
    /// Disks that were replaced by empty ones.
    replaced_disks: "disks replaced by empty ones",
    /// Leaders that went while a follower that had lost its disk was catching up.
    left_half_caught_up: "leaders gone from half-caught-up followers",
    /// Leaders whose answers came late, and who were cut off and asked to read.
    late_answers: "leaders whose answers came late",
}
}

impl Statistics {
    /// Simulated time, in hours.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn simulated_hours(&self) -> f64 {
        self.simulated_us as f64 / 3.6e9
    }
}
