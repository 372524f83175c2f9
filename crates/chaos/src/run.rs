//! The course of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ruvector_simulator::random::Random;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, LIMIT};
use crate::disk::DiskKind;
use crate::fault::{Fault, Kind};
use crate::figures;
use crate::group::Group;
use crate::history::{self, Recorded};
use crate::leftovers;
use crate::load::Load;
use crate::network::{Network, Place};
use crate::patience::Patience;
use crate::report::{Faults, Report, Watches};
use crate::watch::{self, Observer, Watcher};

/// How long a fault lasts, in milliseconds: from a few election timeouts to where clients give up.
const FAULT_MS: (u64, u64) = (700, 6_000);
/// How long all is well between two faults, in milliseconds.
const CALM_MS: (u64, u64) = (500, 2_000);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `ruvector` to run.
    pub program: PathBuf,
    /// From which the faults are drawn.
    pub seed: u64,
    /// No fault begins after this.
    pub time: Duration,
    /// The run ends after so many faults.
    pub faults_max: usize,
    /// Which faults there are. Each comes once before one comes again.
    pub kinds: Vec<Kind>,
    /// Who is told, line by line, what happens.
    pub tell: fn(&str),
}

/// Runs real nodes under faults and judges what came of it. [`crate::requirements::obstacle`] must have been asked.
///
/// # Errors
/// If the run itself is not possible, or was interrupted. That a promise was broken is no error but in the report.
pub fn run(options: &Options) -> Result<Report> {
    ensure!(!options.kinds.is_empty(), "no kind of fault is left");
    // The thread moves to the network of the nodes, where the caller has no business.
    std::thread::scope(|scope| match scope.spawn(|| Course::begin(options)?.complete()).join() {
        Ok(report) => report,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A fault that came, on the clock of the run.
struct Happened {
    kind: Kind,
    injected: Duration,
    healed: Duration,
    recovered: Duration,
}

/// The clients and watches of a group.
struct Side {
    group: Group,
    watchers: Vec<Watcher>,
    load: Load,
}

/// What those of a group saw.
struct Seen {
    history: Vec<Recorded>,
    watched: Vec<Observer>,
    read_again: Vec<Observer>,
    /// That of the last write.
    revision: i64,
}

struct Course<'options> {
    options: &'options Options,
    clock: Instant,
    random: Random,
    sides: Vec<Side>,
    cluster: Cluster,
    runtime: Arc<Runtime>,
    patience: Patience,
    happened: Vec<Happened>,
    violations: Vec<String>,
    /// Removed with all that is in it, behind what is mounted there.
    directory: TempDir,
}

impl<'options> Course<'options> {
    fn begin(options: &'options Options) -> Result<Self> {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        leftovers::remove().context("can't remove what a killed run left behind")?;
        let patience = Patience::listen()?;
        let directory = leftovers::directory()?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed).to_string();
        let network = Network::build(&leftovers::namespace_prefix(&run))?;
        network.enter()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let runtime = Arc::new(runtime);
        let kind = if options.kinds.contains(&Kind::FailedSync) { DiskKind::Loop } else { DiskKind::Memory };
        let mut cluster =
            Cluster::start(&options.program, directory.path(), kind, network, &runtime, &patience)?;
        let healthy = cluster.await_health()?;
        ensure!(healthy, "the cluster never came up; {}", cluster.ended_by_themselves()?.join("; "));
        let clock = Instant::now();
        let mut random = Random::new(options.seed);
        let sides = Group::all().map(|group| Side::begin(group, &runtime, clock, random.seed())).collect();
        let (happened, violations) = (Vec::new(), Vec::new());
        Ok(Self {
            options,
            clock,
            random,
            sides,
            cluster,
            runtime,
            patience,
            happened,
            violations,
            directory,
        })
    }

    fn complete(mut self) -> Result<Report> {
        let mut bag = Vec::new();
        while self.violations.is_empty()
            && self.clock.elapsed() < self.options.time
            && self.happened.len() < self.options.faults_max
        {
            if bag.is_empty() {
                bag = self.options.kinds.clone();
            }
            let kind = bag.swap_remove(self.random.index(bag.len()));
            self.suffer(kind)?;
        }
        self.finish()
    }

    /// One fault, from calm to health.
    fn suffer(&mut self, kind: Kind) -> Result<()> {
        let calm = self.random.between(CALM_MS.0, CALM_MS.1);
        let lasting = self.random.between(FAULT_MS.0, FAULT_MS.1);
        self.patience.sleep(Duration::from_millis(calm))?;
        self.sides.iter().for_each(|side| side.load.next_round());
        let leader = self.cluster.leader();
        let fault = Fault::draw(kind, leader, &mut self.random);
        let injected = self.clock.elapsed();
        let leads = leader.map_or_else(|| "nobody".to_owned(), |leader| leader.to_string());
        (self.options.tell)(&format!("{:>7.1} s  {fault} ({leads} leads)", injected.as_secs_f64()));
        let wrong = fault.inject(&mut self.cluster)?;
        self.violations.extend(wrong);
        self.patience.sleep(Duration::from_millis(lasting))?;
        if fault.leaves_majority() && !self.cluster.await_majority()? {
            self.violations.push(format!("available: no write was acknowledged while {fault}"));
        }
        let healed = self.clock.elapsed();
        fault.heal(&mut self.cluster)?;
        if !self.cluster.await_health()? {
            self.violations.push(format!("available: no health within {LIMIT:?} after {fault}"));
        }
        let ended = self.cluster.ended_by_themselves()?;
        self.violations.extend(ended.into_iter().map(|ended| format!("process: {ended}")));
        let recovered = self.clock.elapsed();
        self.happened.push(Happened { kind, injected, healed, recovered });
        Ok(())
    }

    fn finish(mut self) -> Result<Report> {
        let seconds = self.clock.elapsed().as_secs();
        (self.options.tell)(&format!("{:>7.1} s  the end: judging", self.clock.elapsed().as_secs_f64()));
        let sides = std::mem::take(&mut self.sides);
        let seen = sides.into_iter().map(|side| side.finish(&self.runtime, self.clock, &self.patience));
        let seen = seen.collect::<Result<Vec<_>>>()?;
        if !self.cluster.await_equal_states()? {
            self.violations.push(format!("state: the nodes do not come to an equal state within {LIMIT:?}"));
        }
        self.violations.extend(self.cluster.panics());
        self.violations.extend(std::mem::take(&mut self.cluster.states).into_violations());
        let undecided_keys = seen.iter().map(|(group, seen)| judge(*group, seen, &mut self.violations)).sum();
        let histories: Vec<&[Recorded]> = seen.iter().map(|(_, seen)| seen.history.as_slice()).collect();
        let mut report = Report {
            seed: self.options.seed,
            seconds,
            operations: figures::operations(&histories.concat()),
            reads: figures::reads(&histories.concat()),
            faults: faults(&self.happened, &histories),
            put_back: self.cluster.put_back_count(),
            watches: watches(seen.iter().flat_map(|(_, seen)| &seen.watched)),
            undecided_keys,
            violations: self.violations,
            kept: None,
        };
        if !report.violations.is_empty() {
            for (group, seen) in &seen {
                write_history(&self.directory, *group, &seen.history)?;
            }
            // The disks go with the cluster; what the nodes said stays.
            drop(self.cluster);
            report.kept = Some(leftovers::keep(self.directory)?);
        }
        Ok(report)
    }
}

impl Side {
    fn begin(group: Group, runtime: &Runtime, clock: Instant, seed: u64) -> Self {
        let watch = |place| Watcher::start(runtime, group, place, &format!("the watch at {place}"));
        let load = Load::start(runtime, group, clock, seed);
        Self { group, watchers: Place::all().map(watch).collect(), load }
    }

    /// Ends the work, and reads all history again.
    fn finish(self, runtime: &Runtime, clock: Instant, patience: &Patience) -> Result<(Group, Seen)> {
        let (history, revision) = self.load.finish(runtime, clock)?;
        let watched = self.watchers.into_iter().map(|watcher| watcher.finish(revision, LIMIT, patience));
        let watched = watched.collect::<Result<_>>()?;
        let read_again = Place::all().map(|place| {
            let name = format!("all history at {place}");
            Watcher::start(runtime, self.group, place, &name).finish(revision, LIMIT, patience)
        });
        let read_again = read_again.collect::<Result<_>>()?;
        Ok((self.group, Seen { history, watched, read_again, revision }))
    }
}

/// Holds what clients and watches of a group saw against each other. Gives the number of keys that can't be decided.
fn judge(group: Group, seen: &Seen, violations: &mut Vec<String>) -> usize {
    let all: Vec<Observer> = seen.read_again.iter().chain(&seen.watched).cloned().collect();
    let mut found: Vec<String> = all.iter().flat_map(Observer::violations).cloned().collect();
    found.extend(watch::compare(&all, seen.revision));
    found.extend(
        all.first().map_or_else(Vec::new, |first| history::judge_changes(&seen.history, first.changes())),
    );
    let judgement = history::judge(&seen.history);
    found.extend(judgement.violations);
    violations.extend(found.into_iter().map(|violation| format!("group {}: {violation}", group.name())));
    judgement.undecided
}

/// The longest gap is that of the group that had to wait longest.
fn faults(happened: &[Happened], histories: &[&[Recorded]]) -> BTreeMap<String, Faults> {
    let acknowledged: Vec<_> = histories.iter().map(|history| figures::acknowledged_at(history)).collect();
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut faults: BTreeMap<String, Faults> = BTreeMap::new();
    for Happened { kind, injected, healed, recovered } in happened {
        let of_kind = faults.entry(kind.name()).or_default();
        let gaps = acknowledged.iter().map(|times| figures::longest_gap(times, *injected, *recovered));
        let gap = gaps.max().unwrap_or_default();
        of_kind.count += 1;
        of_kind.longest_gap_ms = of_kind.longest_gap_ms.max(milliseconds(gap));
        of_kind.longest_recovery_ms = of_kind.longest_recovery_ms.max(milliseconds(*recovered - *healed));
    }
    faults
}

fn watches<'a>(observers: impl Iterator<Item = &'a Observer>) -> Watches {
    observers.fold(Watches::default(), |sum, observer| Watches {
        events: sum.events + observer.changes().len(),
        notices: sum.notices + observer.notices,
        resumptions: sum.resumptions + observer.resumptions,
    })
}

fn write_history(directory: &TempDir, group: Group, history: &[Recorded]) -> Result<()> {
    let mut text = String::new();
    for recorded in history {
        writeln!(text, "{recorded:?}")?;
    }
    fs::write(directory.path().join(format!("history-{}.txt", group.name())), text)
        .context("can't keep the history")
}
