//! The write-ahead log of all groups.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ruvector_protocol::{Entry, GroupId, HardState, Index, LogPosition, NodeId, SnapshotMeta, Write};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::owner::Owner;

mod advice;
mod batch;
mod index;
mod mark;
mod names;
mod options;
mod read;
mod record;
mod recovery;
mod segment;

pub use options::LogOptions;

use batch::{BatchBuffer, Tail};
use index::GroupLog;
use mark::MarkFile;
use record::Record;
use recovery::Recovered;
use segment::SegmentSet;

/// What a replica needs to know of its log before it reads any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The newest durable hard state.
    pub hard_state: HardState,
    /// How far each replica is known to have come.
    pub remembered: BTreeMap<NodeId, Index>,
    /// The snapshot the log begins behind; at index 0 it only carries the first membership.
    pub base: SnapshotMeta,
    /// The first entry of each term that the log holds, but for those that go on with the base's term.
    pub term_starts: Vec<LogPosition>,
    /// Where the log ends.
    pub last: LogPosition,
}

/// All that the log holds of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupContents {
    /// The newest hard state.
    pub hard_state: HardState,
    /// How far each replica is known to have come.
    pub remembered: BTreeMap<NodeId, Index>,
    /// The snapshot the log begins behind.
    pub base: SnapshotMeta,
    /// All entries behind it, consecutive.
    pub entries: Vec<Entry>,
}

impl RecoveredGroup {
    /// Whether the log begins behind this very entry, or holds it.
    #[must_use]
    pub fn holds(&self, position: LogPosition) -> bool {
        let is_within = self.base.position.index <= position.index && position.index <= self.last.index;
        let before = self.term_starts.iter().take_while(|start| start.index <= position.index).last();
        is_within && before.unwrap_or(&self.base.position).term == position.term
    }
}

/// The write-ahead log of all groups of a node.
///
/// - What [`sync`](Self::sync) returned for is there after any crash; each [`Write`] is there wholly or not at all.
/// - A batch is written only after the one before it is durable, so a damaged batch with an intact one
///   behind it was once durable: that is damage, and not the tail of a crash.
/// - After a failed write or sync nothing is ever written again.
#[derive(Debug)]
pub struct LogStore {
    options: LogOptions,
    groups: BTreeMap<GroupId, GroupLog>,
    segments: SegmentSet,
    mark: MarkFile,
    /// What was appended since the last sync.
    batch: BatchBuffer,
    tail: Tail,
    /// Segments may have become needless since the last sync.
    release_due: bool,
    /// A write or a sync failed.
    failed: bool,
    sync_count: u64,
}

impl LogStore {
    /// Opens the owner's log, repairing a torn tail.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if anything but the tail is damaged; [`StorageError::RolledBack`] if something is
    /// missing that was durable; [`StorageError::Foreign`] if it is somebody else's; [`StorageError::Mismatch`] if
    /// another version wrote it.
    pub fn open(disk: Arc<dyn Disk>, owner: Owner, options: LogOptions) -> Result<Self, StorageError> {
        let Recovered { options, groups, segments, mark, tail } = recovery::recover(disk, owner, options)?;
        Ok(Self {
            options,
            groups,
            segments,
            mark,
            batch: BatchBuffer::new(),
            tail,
            release_due: true,
            failed: false,
            sync_count: 0,
        })
    }

    /// The groups that the log holds something of.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    /// What a replica of the group starts from; `None` if the log holds nothing of it.
    #[must_use]
    pub fn recovered(&self, group: GroupId) -> Option<RecoveredGroup> {
        self.groups.get(&group).map(|log| RecoveredGroup {
            hard_state: log.hard_state(),
            remembered: log.remembered().clone(),
            base: log.base().clone(),
            term_starts: log.term_starts(),
            last: log.last(),
        })
    }

    /// Everything, read back. A node needs it never, and whoever checks a log does.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn contents(&self) -> Result<BTreeMap<GroupId, GroupContents>, StorageError> {
        let of = |(&group, log): (&GroupId, &GroupLog)| {
            let base = log.base().clone();
            let entries = self.read(group, base.position.index.next(), log.last().index, usize::MAX)?;
            let (hard_state, remembered) = (log.hard_state(), log.remembered().clone());
            Ok((group, GroupContents { hard_state, remembered, base, entries }))
        };
        self.groups.iter().map(of).collect()
    }

    /// Writes, not yet durable: [`sync`](Self::sync) makes it so. A group's first write must carry a
    /// snapshot (at index 0, with the first membership).
    ///
    /// # Errors
    /// If the disk refuses; the log then refuses everything from then on.
    ///
    /// # Panics
    /// If the write breaks a rule of the log: entries that do not follow, a falling term, a changed vote, a
    /// group without a beginning.
    pub fn append(&mut self, write: &Write) -> Result<(), StorageError> {
        let reset = write.snapshot.iter().map(Record::Reset);
        let hard_state = write.hard_state.iter().map(Record::HardState);
        let entries = write.entries.iter().map(Record::Entry);
        // Behind the entries that it may speak of.
        let remembered = write.remembered.iter().map(Record::Remembered);
        let records = reset.chain(hard_state).chain(entries).chain(remembered);
        if write.snapshot.is_some() {
            self.release_due = true;
        }
        self.push(write.group, records)
    }

    /// Makes everything appended durable, with one sync unless a segment ended in between; with none if
    /// nothing was appended.
    ///
    /// # Errors
    /// If the disk refuses; the log then refuses everything from then on.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.check_usable()?;
        let result = self.write_batch().and_then(|()| self.release_segments());
        self.fail_if(result)
    }

    /// Entries `from..=through` of a group, as many as fit `bytes_max` but at least one; empty if `from` is
    /// not behind the group's base or beyond its end.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if what is read back fails its checksum.
    pub fn read(
        &self,
        group: GroupId,
        from: Index,
        through: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.check_usable()?;
        let Some(log) = self.groups.get(&group) else { return Ok(Vec::new()) };
        let source = read::Source { segments: &self.segments, batch: &self.batch, group };
        source.read(log.locations(from, through), bytes_max)
    }

    /// The group's log now begins behind `base`: entries up to and with it may be forgotten; those behind
    /// it stay. Durable with the next [`sync`](Self::sync); segments that nobody needs are recycled then.
    /// A base that is not ahead of the present one changes nothing.
    ///
    /// # Errors
    /// If the disk refuses.
    ///
    /// # Panics
    /// If the group has no log, or holds another entry at the base's index.
    pub fn compact(&mut self, group: GroupId, base: &SnapshotMeta) -> Result<(), StorageError> {
        let present = self.groups.get(&group).map(|log| log.base().position.index);
        if present.is_some_and(|present| base.position.index <= present) {
            return self.check_usable();
        }
        self.release_due = true;
        self.push(group, std::iter::once(Record::Base(base)))
    }

    /// Writes all entries of a group once more, behind everything else, so that the segments which they were in can go: one
    /// group's oldest entry does not keep what others wrote. They are in one batch, so that after a crash they are there as
    /// they were, in the old place or in the new one. Durable with the next [`sync`](Self::sync).
    ///
    /// Holds all of the group's entries in memory at once: see [`group_bytes`](Self::group_bytes).
    ///
    /// # Errors
    /// If the disk refuses, or [`StorageError::Corrupt`] if what is read back fails its checksum.
    pub fn rewrite(&mut self, group: GroupId) -> Result<(), StorageError> {
        let Some((first, last)) = self.bounds(group) else { return self.check_usable() };
        let entries = self.read(group, first, last, usize::MAX)?;
        self.release_due = true;
        self.push(group, entries.iter().map(Record::Entry))
    }

    /// First and last index held of a group: `(base + 1, last)`.
    #[must_use]
    pub fn bounds(&self, group: GroupId) -> Option<(Index, Index)> {
        self.groups.get(&group).map(|log| (log.base().position.index.next(), log.last().index))
    }

    /// Bytes of all segment files, recycled ones included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.size_bytes()
    }

    /// Bytes of entries appended to a group since its base, for deciding when a snapshot is due.
    #[must_use]
    pub fn group_bytes(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(0, GroupLog::bytes)
    }

    /// The number of the segment that is written now. Each has a higher one than the one before.
    #[must_use]
    pub fn current_segment(&self) -> u64 {
        self.segments.current().header.number
    }

    /// How many segments were begun since the oldest one that is kept for entries of the group; 0 if none is.
    #[must_use]
    pub fn segments_held(&self, group: GroupId) -> u64 {
        let oldest = self.groups.get(&group).and_then(GroupLog::oldest_segment);
        oldest.map_or(0, |oldest| self.current_segment().saturating_sub(oldest))
    }

    /// How many syncs have been done.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.sync_count
    }

    /// Adds records to the batch, all of them or none.
    fn push<'a>(
        &mut self,
        group: GroupId,
        records: impl Iterator<Item = Record<'a>> + Clone,
    ) -> Result<(), StorageError> {
        self.check_usable()?;
        let bytes: usize = records.clone().map(|record| record.encoded_bytes()).sum();
        if bytes == 0 {
            return Ok(());
        }
        let result = self.make_room(bytes as u64);
        self.fail_if(result)?;
        if self.batch.is_empty() {
            self.begin_batch();
        }
        for record in records {
            let location = self.batch.push(group, record);
            recovery::apply(&mut self.groups, group, record, location)
                .unwrap_or_else(|violation| panic!("group {group} breaks a rule of the log: {violation}"));
        }
        Ok(())
    }

    /// Ends the segment if `bytes` more do not fit it. One that holds nothing takes records of any size.
    fn make_room(&mut self, bytes: u64) -> Result<(), StorageError> {
        let current = self.segments.current();
        let (fresh, end) = match self.batch.is_empty() {
            true => (current.is_fresh(), current.end + batch::BATCH_HEADER_BYTES as u64),
            false => (false, self.batch.end()),
        };
        if fresh || end + bytes <= self.options.segment_bytes {
            return Ok(());
        }
        self.write_batch()?;
        self.segments.begin_next(self.tail)?;
        self.mark.sync()
    }

    /// Begins a batch at the end of the segment. A segment's first batch repeats what must not be lost
    /// with the segments before it.
    fn begin_batch(&mut self) {
        let current = self.segments.current();
        self.batch.begin(current.header.number, current.header.salt, current.end);
        if current.is_fresh() {
            for (&group, log) in &self.groups {
                self.batch.push(group, Record::Carried(&log.carried()));
                if !log.remembered().is_empty() {
                    self.batch.push(group, Record::Remembered(log.remembered()));
                }
            }
        }
    }

    fn write_batch(&mut self) -> Result<(), StorageError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let segment = self.segments.current_mut();
        let (start, bytes, tail) = self.batch.seal(self.tail);
        let end = start + bytes.len() as u64;
        segment.append(bytes, start, self.options.segment_bytes)?;
        segment.sync()?;
        segment.end = end;
        self.sync_count += 1;
        self.tail = tail;
        self.batch.clear();
        self.mark.write(self.segments.mark(tail))
    }

    /// Gives up segments that no group needs, if that may have changed. Everything is durable by now, the
    /// new bases among it; but as long as the newest segment holds no batch, it does not repeat what stands in
    /// those before it. (A crash may have left it so.)
    fn release_segments(&mut self) -> Result<(), StorageError> {
        if self.segments.current().is_fresh() || !std::mem::take(&mut self.release_due) {
            return Ok(());
        }
        self.mark.sync()?;
        let current = self.segments.current().header.number;
        let needed = self.groups.values().filter_map(GroupLog::oldest_segment).min().unwrap_or(current);
        self.segments.release_below(needed)
    }

    fn check_usable(&self) -> Result<(), StorageError> {
        if self.failed {
            let source = io::Error::other("an earlier write or sync failed; the node must be started again");
            return Err(StorageError::Io { action: "using", file: names::DIRECTORY.to_owned(), source });
        }
        Ok(())
    }

    fn fail_if(&mut self, result: Result<(), StorageError>) -> Result<(), StorageError> {
        self.failed |= result.is_err();
        result
    }
}
