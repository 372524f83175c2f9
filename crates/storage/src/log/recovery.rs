//! Reading the log back after a stop or a crash. docs/DISK_FORMAT.md, "Recovery", says why each rule holds.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ruvector_protocol::GroupId;

use super::advice::{ADVICE, FOREIGN_ADVICE};
use super::batch::{BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, Tail, place_seed};
use super::index::{GroupLog, Location, Violation};
use super::mark::{Mark, MarkFile};
use super::names::{DIRECTORY, probe_name, segment_name};
use super::options::LogOptions;
use super::record::{self, Record, RecordDefect};
use super::segment::{
    FORMAT_VERSION, HeaderDefect, Listing, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
    SegmentSet, Spare,
};
use crate::directory::check_writable;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// The log as it was read back, ready to be written to.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) options: LogOptions,
    pub(super) groups: BTreeMap<GroupId, GroupLog>,
    pub(super) segments: SegmentSet,
    pub(super) mark: MarkFile,
    pub(super) tail: Tail,
}

/// Opens the log and rebuilds the index of every group.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    owner: Owner,
    options: LogOptions,
) -> Result<Recovered, StorageError> {
    let options = LogOptions { segment_bytes: options.segment_bytes.min(SEGMENT_BYTES_MAX), ..options };
    disk.create_directory(DIRECTORY).map_err(StorageError::io("creating", DIRECTORY))?;
    disk.sync_directory("").map_err(StorageError::io("syncing", "the data directory"))?;
    check_writable(&*disk, DIRECTORY, &probe_name())?;
    // A segment's name may have been seen by a process that died before the name was durable.
    disk.sync_directory(DIRECTORY).map_err(StorageError::io("syncing", DIRECTORY))?;
    let listing = Listing::read(&*disk)?;
    let mut replay = Replay::new(owner, Mark::read(&*disk, owner)?);
    let mut live: VecDeque<Segment> = VecDeque::new();
    for (place, &number) in listing.segments.iter().enumerate() {
        let is_last = place + 1 == listing.segments.len();
        let segment = replay.segment(&*disk, number, live.back(), is_last)?;
        live.push_back(segment);
    }
    replay.check_complete(live.front())?;
    if let (None, Some(mark)) = (live.back(), replay.mark) {
        mark.check_reached(replay.tail, DIRECTORY, 0)?;
    }
    let spares = usable_spares(&*disk, listing.spares, options)?;
    let tail = replay.tail;
    let is_new = live.is_empty();
    let mut segments = SegmentSet::new(Arc::clone(&disk), owner, options, live, spares);
    if is_new {
        segments.begin_next(tail)?;
    }
    let mark = MarkFile::begin(&*disk, owner, segments.mark(tail))?;
    Ok(Recovered { options, groups: replay.groups, segments, mark, tail })
}

/// Applies a record to the groups' logs, when it is appended and when it is read back.
///
/// # Errors
/// If it breaks a rule of the log.
pub(super) fn apply(
    groups: &mut BTreeMap<GroupId, GroupLog>,
    group: GroupId,
    record: Record<'_>,
    location: Location,
) -> Result<(), Violation> {
    if let Record::Reset(base) = record {
        groups.entry(group).or_insert_with(|| GroupLog::new(base.clone())).reset(base.clone());
        return Ok(());
    }
    if let Record::Carried(carried) = record {
        let log = match groups.entry(group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(GroupLog::from_carried(carried.clone())?),
        };
        let known = log.carried();
        return if known == *carried {
            Ok(())
        } else {
            Err(format!("the segment begins with {carried:?}, the ones before it end with {known:?}"))
        };
    }
    let log = groups.get_mut(&group).ok_or("its log has no beginning")?;
    match record {
        Record::Entry(entry) => log.push(entry, location),
        Record::HardState(state) => log.set_hard_state(*state),
        Record::Base(base) => log.compact(base.clone()),
        Record::Remembered(remembered) => {
            log.set_remembered(remembered.clone());
            Ok(())
        }
        Record::Reset(_) | Record::Carried(_) => Ok(()),
    }
}

/// The spares that are worth keeping; the others are removed.
fn usable_spares(
    disk: &dyn Disk,
    names: Vec<String>,
    options: LogOptions,
) -> Result<Vec<Spare>, StorageError> {
    let mut usable = Vec::new();
    for name in names {
        let file = disk.open(&name, false).map_err(StorageError::io("opening", &name))?;
        let bytes = file.size().map_err(StorageError::io("reading the size of", &name))?;
        let spare = Spare { name, bytes };
        if spare.is_usable(options, usable.len()) {
            usable.push(spare);
        } else {
            disk.remove(&spare.name).map_err(StorageError::io("removing", &spare.name))?;
        }
    }
    Ok(usable)
}

/// How much of a segment is read at a time. The log is not in the page cache, and whoever syncs on the same disk waits behind
/// what was asked of it at once.
const READ_BYTES: usize = 1 << 20;

/// The log as far as it was read back.
#[derive(Debug)]
struct Replay {
    owner: Owner,
    mark: Option<Mark>,
    groups: BTreeMap<GroupId, GroupLog>,
    tail: Tail,
    /// A segment's bytes: each is read into the memory of the one before.
    buffer: Vec<u8>,
}

/// A segment's bytes on their way through recovery.
struct Scan<'a> {
    name: &'a str,
    bytes: &'a [u8],
    header: SegmentHeader,
}

/// Where a scan stopped: at the end of what is valid.
struct ScanEnd {
    offset: usize,
    /// Where the last valid batch begins, if there is one.
    last_batch: Option<usize>,
}

impl Replay {
    fn new(owner: Owner, mark: Option<Mark>) -> Self {
        Self { owner, mark, groups: BTreeMap::new(), tail: Tail::default(), buffer: Vec::new() }
    }

    fn segment(
        &mut self,
        disk: &dyn Disk,
        number: u64,
        before: Option<&Segment>,
        is_last: bool,
    ) -> Result<Segment, StorageError> {
        let name = segment_name(number);
        let mut file = disk.open(&name, false).map_err(StorageError::io("opening", &name))?;
        let filled = file.size().map_err(StorageError::io("reading the size of", &name))?;
        if u32::try_from(filled).is_err() {
            return Err(corrupt(&name, 0, format!("it has {filled} bytes, more than a segment can have")));
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(usize::try_from(filled).unwrap_or(usize::MAX), 0);
        for (piece, start) in bytes.chunks_mut(READ_BYTES).zip((0_u64..).step_by(READ_BYTES)) {
            file.read_at(piece, start).map_err(StorageError::io("reading", &name))?;
        }
        let header = read_header(&name, number, &bytes)?;
        self.owner.check(header.owner, &name, FOREIGN_ADVICE)?;
        self.check_follows(&name, &header, before)?;
        let scan = Scan { name: &name, bytes: &bytes, header };
        let end = self.batches(&scan)?;
        if is_last {
            scan.check_nothing_behind(end.offset, self.tail)?;
            if let Some(mark) = self.mark {
                mark.check_reached(self.tail, &name, end.offset as u64)?;
            }
            repair_tail(&scan, &end, &mut *file)?;
        }
        let end = end.offset as u64;
        self.buffer = bytes;
        Ok(Segment { header, name, file, filled, end })
    }

    /// The segment before must end exactly where this one says that it did: it was durable by then.
    fn check_follows(
        &mut self,
        name: &str,
        header: &SegmentHeader,
        before: Option<&Segment>,
    ) -> Result<(), StorageError> {
        let Some(before) = before else {
            return self.proceed(header.tail, name);
        };
        if header.number != before.header.number + 1 {
            let missing = segment_name(before.header.number + 1);
            return Err(corrupt(&missing, 0, format!("it is missing, and {name} is there")));
        }
        if header.previous_end != before.end || header.tail != self.tail {
            let what = format!(
                "batch {} is damaged or missing: {name} says that the batches before it end at byte {} with batch {}",
                self.tail.next_sequence,
                header.previous_end,
                header.tail.next_sequence.saturating_sub(1),
            );
            return Err(corrupt(&before.name, before.end, what));
        }
        Ok(())
    }

    /// The log goes on to here, by the way that the mark knows.
    fn proceed(&mut self, tail: Tail, name: &str) -> Result<(), StorageError> {
        self.tail = tail;
        self.mark.map_or(Ok(()), |mark| mark.check_passed(tail, name))
    }

    /// Takes all valid batches of a segment.
    fn batches(&mut self, scan: &Scan<'_>) -> Result<ScanEnd, StorageError> {
        let mut end = ScanEnd { offset: SEGMENT_HEADER_BYTES, last_batch: None };
        while let Some(header) = BatchHeader::find(scan.bytes, end.offset, scan.header.salt) {
            if header.sequence != self.tail.next_sequence || header.previous != self.tail.chain {
                let expected = self.tail.next_sequence;
                let what = format!("batch {} stands where batch {expected} belongs", header.sequence);
                return Err(corrupt(scan.name, end.offset as u64, what));
            }
            let Some(body) = header.body(scan.bytes, end.offset) else { break };
            self.records(scan, end.offset, &header, body)?;
            self.proceed(Tail { next_sequence: header.sequence + 1, chain: header.checksum }, scan.name)?;
            end.last_batch = Some(end.offset);
            end.offset += BATCH_HEADER_BYTES + body.len();
        }
        Ok(end)
    }

    /// Applies the records of a batch whose checksum was right.
    fn records(
        &mut self,
        scan: &Scan<'_>,
        batch: usize,
        header: &BatchHeader,
        body: &[u8],
    ) -> Result<(), StorageError> {
        let mut done = 0;
        for _ in 0..header.record_count {
            let offset = batch + BATCH_HEADER_BYTES + done;
            let seed = place_seed(scan.header.salt, offset as u64);
            // Only the places of commands are wanted here: those that are still needed at the end are read then.
            let (group, decoded, bytes) = record::decode(&body[done..], seed, |_| Bytes::new())
                .map_err(|defect| scan.refuse(offset, defect))?;
            let location = Location {
                segment: scan.header.number,
                offset: u32::try_from(offset).expect("a segment is smaller than 4 GiB"),
                bytes: u32::try_from(bytes).expect("a record is smaller than its batch"),
            };
            apply(&mut self.groups, group, decoded.as_record(), location).map_err(|violation| {
                corrupt(scan.name, offset as u64, format!("group {group}: {violation}"))
            })?;
            done += bytes;
        }
        let padding = &body[done..];
        if padding.len() >= BATCH_ALIGNMENT || padding.iter().any(|&byte| byte != 0) {
            let what = format!("batch {} has more than its records", header.sequence);
            return Err(corrupt(scan.name, (batch + BATCH_HEADER_BYTES + done) as u64, what));
        }
        Ok(())
    }

    fn check_complete(&self, oldest: Option<&Segment>) -> Result<(), StorageError> {
        let Some(oldest) = oldest else { return Ok(()) };
        if oldest.is_fresh() && oldest.header.tail != Tail::default() {
            let what =
                "its first batch is damaged and was durable: the segments before it were given up for it";
            return Err(corrupt(&oldest.name, oldest.end, what.to_owned()));
        }
        for (group, log) in &self.groups {
            if let Some((first, last)) = log.missing() {
                let what = format!(
                    "the segments before it are missing, with entries {first} to {last} of group {group}"
                );
                return Err(corrupt(&oldest.name, 0, what));
            }
        }
        Ok(())
    }
}

impl Scan<'_> {
    /// Looks for an intact batch behind the end. A batch is written only after the one before it is durable:
    /// if there is one, what is damaged at the end was durable too.
    fn check_nothing_behind(&self, end: usize, tail: Tail) -> Result<(), StorageError> {
        for offset in (end..self.bytes.len()).step_by(BATCH_ALIGNMENT) {
            let Some(later) = BatchHeader::find(self.bytes, offset, self.header.salt) else { continue };
            if later.sequence > tail.next_sequence {
                let damaged = tail.next_sequence;
                let what = format!(
                    "batch {damaged} is damaged and was durable: batch {} at byte {offset} was written after it",
                    later.sequence
                );
                return Err(corrupt(self.name, end as u64, what));
            }
        }
        Ok(())
    }

    fn refuse(&self, offset: usize, defect: RecordDefect) -> StorageError {
        match defect {
            RecordDefect::Damaged(what) => corrupt(self.name, offset as u64, what.to_owned()),
            RecordDefect::UnknownKind(kind) => StorageError::Mismatch(format!(
                "{} holds a record of unknown kind {kind} at byte {offset}: a newer version wrote it",
                self.name
            )),
        }
    }
}

fn read_header(name: &str, number: u64, bytes: &[u8]) -> Result<SegmentHeader, StorageError> {
    let header = SegmentHeader::decode(bytes).map_err(|defect| match defect {
        HeaderDefect::Damaged(what) => corrupt(name, 0, what.to_owned()),
        HeaderDefect::Version(version) => StorageError::format(name, version, FORMAT_VERSION),
    })?;
    if header.number != number {
        return Err(corrupt(name, 0, format!("it is segment {} by its header", header.number)));
    }
    Ok(header)
}

/// Makes durable what was read and what was not, before anybody acts on it.
///
/// The last batch may be in the operating system's memory only: the process may have died between writing and
/// syncing, or its sync may have failed, after which Linux takes the pages for clean. So it is written again. And
/// where the next batch will begin, zeros are written, so that a batch that was dropped can't be found whole by a
/// later start (one of two mirrored disks may have it).
fn repair_tail(scan: &Scan<'_>, end: &ScanEnd, file: &mut dyn DiskFile) -> Result<(), StorageError> {
    if BatchHeader::find(scan.bytes, end.offset, scan.header.salt).is_some() {
        tracing::warn!(file = %scan.name, offset = end.offset, "dropped a batch that a crash tore");
    }
    let start = end.last_batch.unwrap_or(end.offset);
    let zeroed = (end.offset + BATCH_HEADER_BYTES).min(scan.bytes.len());
    let (bytes, zeros) = (&scan.bytes[start..end.offset], zeroed - end.offset);
    file.append_at(bytes, zeros, start as u64).map_err(StorageError::io("writing", scan.name))?;
    file.sync().map_err(StorageError::io("syncing", scan.name))
}

fn corrupt(file: &str, offset: u64, what: String) -> StorageError {
    StorageError::Corrupt { file: file.to_owned(), offset, what, advice: ADVICE }
}
