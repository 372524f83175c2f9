//! Log segments that were written by a script and then damaged, or that hold any bytes.
//!
//! What must hold: no panic and no memory beyond the files' size. Whatever is damaged, the log is refused with a typed
//! error, or holds exactly what it held after one of its batches; if only one bit was flipped, after the last batch or
//! the one before, which is the torn tail of docs/DISK_FORMAT.md. Where the damage comes with right checksums, what is
//! recovered is well-formed at least. And whatever was recovered takes an entry more, and gives all back unless it was
//! forged: a forged segment may lack what every segment repeats of those before it.

#![no_main]

use std::sync::Arc;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::damage::{Damage, Files};
use ruvector_fuzz::log_model::{Contents, WrittenLog};
use ruvector_fuzz::{OWNER, byte, piece, reseal, within_memory};
use ruvector_protocol::{Entry, GroupId, Payload, Write, WriteId};
use ruvector_storage::{Disk, GroupContents, LogOptions, LogStore, SimulatedDisk, StorageError};

/// The model keeps a copy of the log for each step of the script.
const MEMORY_FIXED_BYTES: usize = 16 << 20;
const MEMORY_FACTOR: usize = 20_000;

const DIRECTORY: &str = "log";
/// Where a log's end is known a second time.
const MARK: &str = "log-mark";

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    match byte(&mut input) % 4 {
        0 => any_files(&mut input, false),
        1 => any_files(&mut input, true),
        2 => damaged(&mut input),
        _ => forged(&mut input),
    }
}

/// Segments of any bytes.
fn any_files(input: &mut Unstructured<'_>, resealed: bool) {
    let disk = SimulatedDisk::new();
    disk.create_directory(DIRECTORY).expect("the disk has no fault");
    let mut files = Files::read(&disk, DIRECTORY);
    let first = u64::from(byte(input));
    for number in first..first + 3 {
        let contents = piece(input).to_vec();
        if !contents.is_empty() {
            files.contents.insert(format!("{DIRECTORY}/{number:020}.segment"), contents);
        }
    }
    if resealed {
        reseal::segments(files.contents.values_mut());
    }
    files.write();
    let options = LogOptions { segment_bytes: 1024, ..LogOptions::default() };
    if let Some(contents) = opened(&disk, options) {
        let _or_refused = goes_on(&disk, options, contents);
    }
}

fn damaged(input: &mut Unstructured<'_>) {
    let written = WrittenLog::write(input);
    let mut files = Files::read(&written.disk, DIRECTORY);
    let damage = files.damage(input);
    files.write();
    let Some(contents) = opened(&written.disk, written.options) else {
        assert_ne!(damage, Damage::None, "a log without damage is refused");
        return;
    };
    let oldest = match damage {
        Damage::None => written.durable.len() - 1,
        Damage::OneBit => batch_before_the_last(&written),
        Damage::Much => 0,
    };
    let possible = &written.states[written.durable[oldest]..];
    assert!(possible.contains(&contents), "after {damage:?} the log holds what it never held: {contents:?}");
    let (expected, read) = goes_on(&written.disk, written.options, contents);
    assert_eq!(read, Some(expected), "what was appended to a recovered log is not read back");
}

/// The newest durable state but one that is another than the last.
fn batch_before_the_last(written: &WrittenLog) -> usize {
    let is_older = |place: &usize| &written.states[written.durable[*place]] != written.synced();
    (0..written.durable.len()).rev().find(is_older).unwrap_or(0)
}

fn forged(input: &mut Unstructured<'_>) {
    let written = WrittenLog::write(input);
    let mut files = Files::read(&written.disk, DIRECTORY);
    files.damage(input);
    let segments = files.contents.iter_mut().filter(|(path, _)| path.ends_with(".segment"));
    reseal::segments(segments.map(|(_, contents)| contents));
    files.write();
    // It would know most of what is forged.
    written.disk.remove(MARK).expect("a log has a mark");
    if let Some(contents) = opened(&written.disk, written.options) {
        let _or_refused = goes_on(&written.disk, written.options, contents);
    }
}

/// What an opened log holds, or nothing if it is refused as damaged.
fn opened(disk: &SimulatedDisk, options: LogOptions) -> Option<Contents> {
    let opened = LogStore::open(Arc::new(disk.clone()), OWNER, options);
    let (log, contents) = match opened.and_then(|log| log.contents().map(|contents| (log, contents))) {
        Ok(opened) => opened,
        Err(
            StorageError::Corrupt { .. }
            | StorageError::Foreign { .. }
            | StorageError::RolledBack { .. }
            | StorageError::Mismatch(_),
        ) => return None,
        Err(error @ (StorageError::Io { .. } | StorageError::Locked(_))) => {
            panic!("not about damage: {error}")
        }
    };
    for (&group, held) in &contents {
        let mut last = held.base.position;
        for entry in &held.entries {
            assert_eq!(entry.index, last.index.next(), "a gap in group {group}");
            assert!(entry.term >= last.term, "the term falls in group {group} at {}", entry.index);
            last = entry.position();
        }
        assert_eq!(log.bounds(group), Some((held.base.position.index.next(), last.index)), "group {group}");
    }
    Some(contents)
}

/// Gives the log a write for each group; answers what it should hold, and what is read back.
fn goes_on(
    disk: &SimulatedDisk,
    options: LogOptions,
    mut contents: Contents,
) -> (Contents, Option<Contents>) {
    let opened_again = LogStore::open(Arc::new(disk.clone()), OWNER, options);
    let mut log = opened_again.expect("what was opened once can be opened again");
    let again = log.contents().expect("what was read once can be read again");
    assert_eq!(again, contents, "a log changes by being opened");
    for (&group, held) in &mut contents {
        let write = next_write(group, held);
        held.entries.extend_from_slice(&write.entries);
        log.append(&write).expect("the disk has no fault");
    }
    log.sync().expect("the disk has no fault");
    drop(log);
    (contents, opened(disk, options))
}

fn next_write(group: GroupId, held: &GroupContents) -> Write {
    let last = held.entries.last().map_or(held.base.position, Entry::position);
    let time = held.entries.last().map_or(held.base.time, |entry| entry.time);
    let entry = Entry { term: last.term, index: last.index.next(), time, payload: Payload::Noop };
    Write { id: WriteId(0), group, hard_state: None, remembered: None, snapshot: None, entries: vec![entry] }
}
