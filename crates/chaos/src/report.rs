//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// From which the faults were drawn.
    pub seed: u64,
    /// How long it ran, in seconds.
    pub seconds: u64,
    /// What became of the clients' operations.
    pub operations: Operations,
    /// Reads that were answered, by how they were made: in which dialect, and through which node.
    pub reads: BTreeMap<String, usize>,
    /// What was done to the nodes, by kind.
    pub faults: BTreeMap<String, Faults>,
    /// How often a node found out that its failing disk had lost what it had called durable, and was put back
    /// without its data.
    pub put_back: usize,
    /// What the watches saw.
    pub watches: Watches,
    /// Keys whose history was too entangled to decide whether it is linearizable.
    pub undecided_keys: usize,
    /// Everything that broke a promise; none is what is wanted.
    pub violations: Vec<String>,
    /// Where the nodes' logs and the history are, if a promise was broken.
    pub kept: Option<PathBuf>,
}

/// Operations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Answered.
    pub ok: usize,
    /// Certainly without effect.
    pub failed: usize,
    /// Perhaps with effect.
    pub unknown: usize,
}

/// Faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// How many.
    pub count: usize,
    /// The longest time without an acknowledged write, from a fault to full health, in milliseconds.
    pub longest_gap_ms: u64,
    /// The longest time from healing to full health, in milliseconds.
    pub longest_recovery_ms: u64,
}

/// What the watches saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Watches {
    /// Changes, each counted at every node's watch.
    pub events: usize,
    /// Notices of progress.
    pub notices: u64,
    /// How often a broken watch went on elsewhere in the history.
    pub resumptions: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operations { ok, failed, unknown } = self.operations;
        let Watches { events, notices, resumptions } = self.watches;
        writeln!(formatter, "seed {}, {} s", self.seed, self.seconds)?;
        writeln!(formatter, "operations  {ok} ok, {failed} failed, {unknown} unknown")?;
        for (read, count) in &self.reads {
            writeln!(formatter, "reads       {count} {read}")?;
        }
        writeln!(
            formatter,
            "watches     {events} events, {notices} notices of progress, {resumptions} resumptions"
        )?;
        writeln!(formatter, "{:<20} {:>6} {:>20} {:>17}", "fault", "count", "longest gap ms", "recovery ms")?;
        for (kind, faults) in &self.faults {
            writeln!(
                formatter,
                "{kind:<20} {:>6} {:>20} {:>17}",
                faults.count, faults.longest_gap_ms, faults.longest_recovery_ms
            )?;
        }
        if self.put_back > 0 {
            writeln!(formatter, "put back    {} times a node whose failing disk had lied", self.put_back)?;
        }
        if self.undecided_keys > 0 {
            writeln!(formatter, "undecided   {} keys with too many open operations", self.undecided_keys)?;
        }
        for violation in &self.violations {
            writeln!(formatter, "VIOLATION   {violation}")?;
        }
        write!(formatter, "violations  {}", self.violations.len())?;
        match &self.kept {
            Some(kept) => write!(formatter, "\nlogs and history are in {}", kept.display()),
            None => Ok(()),
        }
    }
}
