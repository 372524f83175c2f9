//! The first half of reading a snapshot: from bytes to versions, each checked, packed and hashed by itself.

use std::io::Read;

use super::super::command::{LeaseId, Response, Retention, Revision};
use super::super::compaction::owed::Owed;
use super::super::key::Key;
use super::super::retention::marks::Mark;
use super::super::session::facts::{SessionFacts, SessionId};
use super::super::store::Tally;
use super::super::stored::{StoredVersion, Version};
use super::record::{Record, RecordReader, damaged, require};
use crate::machine::RestoreError;

/// No counter of a real store comes near this; with this bound none can overflow after a restore.
const COUNTER_MAX: i64 = i64::MAX / 2;
/// A part is full when it has so many records,
const PART_RECORDS_MAX: usize = 1024;
/// or records of so many bytes.
const PART_BYTES_MAX: usize = 256 << 10;

/// Some of the records of a snapshot, each checked as far as that goes without the others.
#[derive(Debug, Default)]
pub struct SnapshotPart {
    pub(super) pieces: Vec<Piece>,
    /// What the versions among them add to hash and size.
    pub(super) tally: Tally,
    pub(super) some_are_leased: bool,
    /// The last part has the hash that all parts together must make.
    pub(super) state_hash: Option<u128>,
}

/// A record of a part.
#[derive(Debug)]
pub(super) enum Piece {
    Header(Header),
    History { written_bytes: u64, owed: Owed, retention: Retention },
    Mark(Mark),
    Lease { id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64 },
    Session { id: SessionId, facts: SessionFacts },
    Answer { sequence: u64, answer: Box<Response> },
    Base(ReadVersion),
    Change(ReadVersion),
}

/// The counters of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) time_ms: u64,
    pub(super) history_first_sequence: u64,
    pub(super) stripped: u64,
    pub(super) sessions_opened: u64,
}

/// A version as it will be stored, and what has to be known to find its place.
#[derive(Debug)]
pub(super) struct ReadVersion {
    pub(super) key: Key,
    pub(super) version: StoredVersion,
    pub(super) number: i64,
}

/// Reads the parts of a snapshot, in order; nothing follows an error.
pub(in super::super) fn parts(
    reader: &mut (dyn Read + Send),
) -> impl Iterator<Item = Result<SnapshotPart, RestoreError>> + Send {
    let mut reader = PartReader { records: RecordReader::new(reader), begun: None, ended: false };
    std::iter::from_fn(move || {
        if reader.ended {
            return None;
        }
        let part = reader.part();
        reader.ended = part.as_ref().map_or(true, |part| part.state_hash.is_some());
        Some(part)
    })
}

struct PartReader<'reader> {
    records: RecordReader<'reader>,
    /// Once the header was read.
    begun: Option<Progress>,
    ended: bool,
}

/// What the next record is checked against.
#[derive(Clone, Copy)]
struct Progress {
    header: Header,
    section: Section,
    next_sequence: u64,
    newest_change: Revision,
    written_bytes: u64,
    newest_mark: Option<Mark>,
}

impl PartReader<'_> {
    fn part(&mut self) -> Result<SnapshotPart, RestoreError> {
        let mut part = SnapshotPart::default();
        let progress = match &mut self.begun {
            Some(progress) => progress,
            None => {
                self.records.start()?;
                let header = read_header(&mut self.records)?;
                part.pieces.push(Piece::Header(header));
                self.begun.insert(Progress::new(header))
            }
        };
        let mut bytes = 0;
        while part.pieces.len() < PART_RECORDS_MAX && bytes < PART_BYTES_MAX {
            let (record, record_bytes) = self.records.next()?;
            bytes += record_bytes;
            if let Some(end) = progress.take(record, &mut part)? {
                self.records.expect_end(end.records)?;
                part.state_hash = Some(end.state_hash);
                break;
            }
        }
        Ok(part)
    }
}

fn read_header(records: &mut RecordReader<'_>) -> Result<Header, RestoreError> {
    match records.next()?.0 {
        Record::Header {
            revision,
            compacted,
            time_ms,
            history_first_sequence,
            stripped,
            sessions_opened,
        } => {
            require((1..COUNTER_MAX).contains(&revision.0), "its revision is out of bounds")?;
            require((0..=revision.0).contains(&compacted.0), "it is compacted beyond its revision")?;
            let sequence_in_bounds = history_first_sequence < COUNTER_MAX.unsigned_abs();
            require(sequence_in_bounds, "its number of changes is out of bounds")?;
            require(sessions_opened < COUNTER_MAX.unsigned_abs(), "its number of sessions is out of bounds")?;
            Ok(Header { revision, compacted, time_ms, history_first_sequence, stripped, sessions_opened })
        }
        Record::Lease { .. }
        | Record::Session { .. }
        | Record::Answer { .. }
        | Record::Base(_)
        | Record::Change(_)
        | Record::End { .. }
        | Record::History { .. }
        | Record::Mark(_) => Err(damaged("the header is not first")),
    }
}

/// What the end record says.
struct End {
    records: u64,
    state_hash: u128,
}

impl Progress {
    fn new(header: Header) -> Self {
        let next_sequence = header.history_first_sequence;
        Self {
            header,
            section: Section::Counters,
            next_sequence,
            newest_change: Revision(0),
            written_bytes: 0,
            newest_mark: None,
        }
    }

    /// Checks a record and adds it to a part, or returns that it is the end.
    fn take(&mut self, record: Record<'_>, part: &mut SnapshotPart) -> Result<Option<End>, RestoreError> {
        self.section = self.section.after(&record)?;
        let piece = match record {
            Record::Lease { id, granted_ttl_seconds, expires_at_ms } => {
                Piece::Lease { id, granted_ttl_seconds, expires_at_ms }
            }
            Record::Session { id, settled_below, used_at_ms, client } => {
                Piece::Session { id, facts: SessionFacts { client, settled_below, used_at_ms } }
            }
            Record::Answer { sequence, answer } => Piece::Answer { sequence, answer: Box::new(answer) },
            Record::Base(version) => {
                self.check_base(&version)?;
                Piece::Base(part.version(&version))
            }
            Record::Change(version) => {
                self.check_change(&version)?;
                part.tally.add_change(self.next_sequence, &version);
                self.next_sequence += 1;
                self.newest_change = version.mod_revision;
                Piece::Change(part.version(&version))
            }
            Record::Header { .. } => return Err(damaged("a second header")),
            Record::History { written_bytes, owed_record_quarters, owed_bytes, retention } => {
                require(written_bytes < COUNTER_MAX.unsigned_abs(), "its number of bytes is out of bounds")?;
                self.written_bytes = written_bytes;
                let owed = Owed { record_quarters: owed_record_quarters, bytes: owed_bytes };
                Piece::History { written_bytes, owed, retention }
            }
            Record::Mark(mark) => {
                self.check_mark(&mark)?;
                self.newest_mark = Some(mark);
                Piece::Mark(mark)
            }
            Record::End { records, state_hash } => return Ok(Some(End { records, state_hash })),
        };
        part.pieces.push(piece);
        Ok(None)
    }

    fn check_mark(&self, mark: &Mark) -> Result<(), RestoreError> {
        let is_past = mark.time_ms <= self.header.time_ms
            && mark.revision <= self.header.revision
            && mark.written_bytes <= self.written_bytes;
        require(is_past, "what was written by some time is more than was written")?;
        let rises = self.newest_mark.is_none_or(|newest| {
            newest.time_ms <= mark.time_ms
                && newest.revision < mark.revision
                && newest.written_bytes <= mark.written_bytes
        });
        require(rises, "marks of history are out of order")
    }

    fn check_base(&self, version: &Version<'_>) -> Result<(), RestoreError> {
        self.check_version(version)?;
        require(!version.is_tombstone(), "a deletion is older than history")?;
        let is_compacted = version.mod_revision <= self.header.compacted;
        require(is_compacted, "a version older than history is not compacted")
    }

    fn check_change(&self, version: &Version<'_>) -> Result<(), RestoreError> {
        self.check_version(version)?;
        require(self.newest_change <= version.mod_revision, "history is out of order")
    }

    fn check_version(&self, version: &Version<'_>) -> Result<(), RestoreError> {
        require(
            version.mod_revision.0 > 1 && version.mod_revision <= self.header.revision,
            "a change is of no revision that was",
        )?;
        require(version.lease != Some(LeaseId(0)), "a lease id is 0")?;
        if version.is_tombstone() {
            return require(
                version.lease.is_none() && version.value.is_empty(),
                "a deletion has a lease or a value",
            );
        }
        require(
            (2..=version.mod_revision.0).contains(&version.create_revision.0),
            "a key is changed before it is created",
        )?;
        let versions_possible = version.mod_revision.0 - version.create_revision.0 + 1;
        require((1..=versions_possible).contains(&version.version), "a version number is out of bounds")
    }
}

impl SnapshotPart {
    fn version(&mut self, version: &Version<'_>) -> ReadVersion {
        self.tally.add_version(version);
        self.some_are_leased |= version.lease.is_some();
        ReadVersion { key: Key::from(version.key), version: (*version).into(), number: version.version }
    }
}

/// Which kind of records is being read.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Section {
    Counters,
    Marks,
    Leases,
    Sessions,
    Base,
    Changes,
    End,
}

impl Section {
    fn after(self, record: &Record<'_>) -> Result<Self, RestoreError> {
        let section = match record {
            Record::Header { .. } | Record::History { .. } => Self::Counters,
            Record::Mark(_) => Self::Marks,
            Record::Lease { .. } => Self::Leases,
            Record::Session { .. } | Record::Answer { .. } => Self::Sessions,
            Record::Base(_) => Self::Base,
            Record::Change(_) => Self::Changes,
            Record::End { .. } => Self::End,
        };
        require(self <= section, "its records are out of order")?;
        Ok(section)
    }
}
