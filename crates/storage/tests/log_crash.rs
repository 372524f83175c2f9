//! The log after a crash at every single disk operation.
#![allow(clippy::unwrap_used)]

mod support;

use ruvector_protocol::{GroupId, Write};
use ruvector_storage::{Crash, LogOptions, LogStore, SimulatedDisk, StorageError};
use support::*;

enum Step {
    Append(Write),
    Compact(u64, u64, u64),
    Rewrite(u64),
    Sync,
}

/// Three groups with truncations, hard states, compactions and a reset, across many segments.
fn script() -> Vec<Step> {
    use Step::{Append, Compact, Rewrite, Sync};
    let mut steps = vec![Append(first_write(1)), Sync, Append(first_write(2))];
    steps.push(Append(entries(1, [entry(1, 1, 0), entry(1, 2, 300)])));
    steps.push(Sync);
    for round in 0..8 {
        let (term, index) = (2 + round, 3 + round * 4);
        let state = hard_state(term, Some(2), index - 1);
        let opened = Write { hard_state: Some(state), ..entries(1, [entry(term, index, 0)]) };
        steps.push(Append(opened));
        steps.push(Append(remembering(1, [(1, index - 1), (3, index - 2)])));
        steps.push(Append(entries(2, (0..2).map(|at| entry(term, round * 2 + at + 1, 250)))));
        steps.push(Sync);
        steps.push(Append(entries(1, (1..7).map(|at| entry(term, index + at, 150)))));
        steps.push(Sync);
        steps.push(Append(entries(1, (3..5).map(|at| entry(term, index + at, 700)))));
        steps.push(Sync);
        steps.push(Append(entries(1, [entry(term, index + 4, 2)])));
        if round == 3 {
            steps.push(Append(first_write(3)));
            steps.push(Append(Write { snapshot: Some(meta(9, 40)), ..entries(3, [entry(9, 41, 20)]) }));
        }
        if round == 5 {
            let reset = Write { snapshot: Some(meta(8, 500)), ..entries(2, [entry(8, 501, 20)]) };
            steps.push(Append(Write { hard_state: Some(hard_state(8, None, 500)), ..reset }));
            break;
        }
        steps.push(Compact(1, term, index));
        steps.push(Compact(2, term, round * 2 + 1));
        steps.push(Rewrite(1 + round % 2));
        steps.push(Sync);
    }
    steps.push(Append(entries(2, [entry(8, 502, 3000), entry(8, 503, 3000)])));
    steps.push(Sync);
    steps.push(Append(entries(2, [entry(9, 503, 1)])));
    steps.push(Sync);
    steps
}

/// What a run left: the states that may be found, oldest first, the first one being synced.
struct Run {
    acceptable: Vec<Recovered>,
    finished: bool,
}

fn run(disk: &SimulatedDisk, steps: &[Step], options: LogOptions) -> Run {
    let mut twin = Twin::default();
    let mut acceptable = vec![Recovered::new()];
    let mut go = || -> Result<(), StorageError> {
        let (mut log, _) = open_with(disk, options)?;
        for step in steps {
            match step {
                Step::Append(write) => {
                    twin.append(write);
                    acceptable.push(twin.groups.clone());
                    log.append(write)?;
                }
                Step::Rewrite(group) => log.rewrite(GroupId(*group))?,
                Step::Compact(group, term, index) => {
                    twin.compact(*group, &meta(*term, *index));
                    acceptable.push(twin.groups.clone());
                    log.compact(GroupId(*group), &meta(*term, *index))?;
                }
                Step::Sync => {
                    log.sync()?;
                    acceptable = vec![twin.groups.clone()];
                }
            }
        }
        Ok(())
    };
    let finished = go().is_ok();
    Run { acceptable, finished }
}

fn crashes() -> Vec<Crash> {
    let torn = (0..6).map(|seed| Crash::Torn { seed: seed * 977 });
    [Crash::ProcessOnly, Crash::LoseUnsynced].into_iter().chain(torn).collect()
}

/// Opens after a crash and checks that the state is one of those that may be.
fn reopen(
    disk: &SimulatedDisk,
    options: LogOptions,
    acceptable: &[Recovered],
    story: &str,
) -> (LogStore, Recovered) {
    let (log, recovered) = open_with(disk, options).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert!(
        acceptable.contains(&recovered),
        "{story}: found {recovered:#?}\nwhich is none of {} states",
        acceptable.len()
    );
    (log, recovered)
}

fn go_on(log: &mut LogStore, recovered: &Recovered) -> Recovered {
    let mut twin = Twin { groups: recovered.clone() };
    for group in [1, 2] {
        if !twin.groups.contains_key(&GroupId(group)) {
            let write = first_write(group);
            twin.append(&write);
            log.append(&write).unwrap();
        }
        let last = twin.last(group);
        let write = entries(group, [entry(last.term.0 + 1, last.index.0 + 1, 90)]);
        twin.append(&write);
        log.append(&write).unwrap();
        log.sync().unwrap();
    }
    twin.groups
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    [SMALL, ODD].into_iter().for_each(crash_at_any_operation);
}

fn crash_at_any_operation(options: LogOptions) {
    let steps = script();
    let whole = SimulatedDisk::new();
    assert!(run(&whole, &steps, options).finished);
    let operations = whole.operations();
    assert!(operations > 70, "the script is long enough to mean something: {operations}");
    for halt in 0..=operations {
        for crash in crashes() {
            let story = format!("halted after {halt} operations, then {crash:?}");
            let disk = SimulatedDisk::new();
            disk.halt_after(halt);
            let outcome = run(&disk, &steps, options);
            assert_eq!(outcome.finished, halt == operations, "{story}");
            disk.crash(crash);
            let (log, recovered) = reopen(&disk, options, &outcome.acceptable, &story);
            drop(log);
            // What recovery told of is durable: somebody may have acted on it.
            disk.crash(Crash::LoseUnsynced);
            let (mut log, again) = reopen(&disk, options, &outcome.acceptable, &story);
            assert_eq!(again, recovered, "{story}: the second recovery differs");
            let continued = go_on(&mut log, &recovered);
            disk.crash(Crash::LoseUnsynced);
            reopen(&disk, options, &[continued], &story);
        }
    }
}

/// What a start saw of a process that died, names among it, may not have been durable; what is then written in files of those
/// names must be.
#[test]
fn what_is_written_after_a_kill_is_there_after_the_power_went() {
    [SMALL, ODD].into_iter().for_each(power_loss_after_kill);
}

fn power_loss_after_kill(options: LogOptions) {
    let steps = script();
    let whole = SimulatedDisk::new();
    run(&whole, &steps, options);
    for halt in 0..=whole.operations() {
        let disk = SimulatedDisk::new();
        disk.halt_after(halt);
        let outcome = run(&disk, &steps, options);
        disk.crash(Crash::ProcessOnly);
        let story = format!("killed after {halt} operations");
        let (mut log, recovered) = reopen(&disk, options, &outcome.acceptable, &story);
        let continued = go_on(&mut log, &recovered);
        disk.crash(Crash::LoseUnsynced);
        reopen(&disk, options, &[continued], &story);
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    [SMALL, ODD].into_iter().for_each(crash_during_recovery);
}

fn crash_during_recovery(options: LogOptions) {
    let steps = script();
    let whole = SimulatedDisk::new();
    run(&whole, &steps, options);
    for halt in (0..whole.operations()).step_by(3) {
        let disk = SimulatedDisk::new();
        disk.halt_after(halt);
        let outcome = run(&disk, &steps, options);
        disk.crash(Crash::Torn { seed: halt });
        for halt_again in 0.. {
            let disk = disk.fork();
            disk.halt_after(halt_again);
            let done = open_with(&disk, options).is_ok();
            disk.crash(Crash::Torn { seed: halt_again });
            let story = format!("halted after {halt} operations and {halt_again} of recovery");
            let (mut log, recovered) = reopen(&disk, options, &outcome.acceptable, &story);
            let continued = go_on(&mut log, &recovered);
            disk.crash(Crash::LoseUnsynced);
            reopen(&disk, options, &[continued], &story);
            if done {
                break;
            }
        }
    }
}

#[test]
fn any_failed_operation_ends_the_log_and_loses_nothing() {
    [SMALL, ODD].into_iter().for_each(fail_any_operation);
}

fn fail_any_operation(options: LogOptions) {
    let steps = script();
    let whole = SimulatedDisk::new();
    run(&whole, &steps, options);
    for failing in 0..whole.operations() {
        let disk = SimulatedDisk::new();
        disk.fail_after(failing, std::io::ErrorKind::Other);
        let outcome = run(&disk, &steps, options);
        assert!(!outcome.finished, "operation {failing} failed and nobody noticed");
        for crash in crashes() {
            let disk = disk.fork();
            let story = format!("operation {failing} failed, then {crash:?}");
            disk.crash(crash);
            let (log, recovered) = reopen(&disk, options, &outcome.acceptable, &story);
            drop(log);
            disk.crash(Crash::LoseUnsynced);
            let (_, again) = reopen(&disk, options, &outcome.acceptable, &story);
            assert_eq!(again, recovered, "{story}: the second recovery differs");
        }
    }
}
