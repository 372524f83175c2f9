//! Segment files: their names, their header, and the files in use. docs/DISK_FORMAT.md, "Segments".

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::batch::Tail;
use super::mark::Mark;
use super::names::{DIRECTORY, parse_segment_name, parse_spare_name, segment_name, spare_name};
use super::options::LogOptions;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// Bytes of a segment in front of its first batch.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// Offsets in a segment have 32 bits, and a single large write may make it larger than asked for.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"RUVECLOG";
/// Zeros are written ahead of the log's end in this many steps a segment: 1 MiB at a time with the default size.
/// They go to the disk together with a batch, cost no write and no sync of their own, and a new node starts at once.
const FILL_STEPS: u64 = 64;

/// The smallest step, in bytes.
const FILL_BYTES_MIN: u64 = 512;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// Seeds every checksum in the segment.
    pub(crate) salt: u32,
    /// Where in the segment before this one its last batch ends; 0 if there was none.
    pub(crate) previous_end: u64,
    /// Where the log stood when this segment began.
    pub(crate) tail: Tail,
    /// Whose log it is.
    pub(crate) owner: Owner,
}

/// Why a segment's header can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderDefect {
    Damaged(&'static str),
    /// Written by another version.
    Version(u32),
}

impl SegmentHeader {
    /// The header of the segment that follows the log's present end.
    pub(crate) fn following(owner: Owner, number: u64, previous_end: u64, tail: Tail) -> Self {
        let numbered = crc32c::crc32c_append(tail.chain, &number.to_le_bytes());
        let salt = crc32c::crc32c_append(numbered, &owner.encode());
        Self { number, salt, previous_end, tail, owner }
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(self.salt);
        out.put_u64_le(self.number);
        out.put_u64_le(self.tail.next_sequence);
        out.put_u64_le(self.previous_end);
        out.put_u32_le(self.tail.chain);
        out.put_slice(&self.owner.encode());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(segment: &[u8]) -> Result<Self, HeaderDefect> {
        let bytes = segment
            .get(..SEGMENT_HEADER_BYTES)
            .ok_or(HeaderDefect::Damaged("it is shorter than its header"))?;
        let mut checksum = &bytes[60..];
        if bytes[..8] != MAGIC {
            return Err(HeaderDefect::Damaged("it does not begin as a segment does"));
        }
        if checksum.get_u32_le() != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderDefect::Damaged("the header's checksum is wrong"));
        }
        let mut rest = &bytes[8..];
        let version = rest.get_u32_le();
        if version != FORMAT_VERSION {
            return Err(HeaderDefect::Version(version));
        }
        let salt = rest.get_u32_le();
        let number = rest.get_u64_le();
        let next_sequence = rest.get_u64_le();
        let previous_end = rest.get_u64_le();
        let chain = rest.get_u32_le();
        let owner =
            Owner::decode(&mut rest).map_err(|_| HeaderDefect::Damaged("it is shorter than its header"))?;
        Ok(Self { number, salt, previous_end, tail: Tail { next_sequence, chain }, owner })
    }
}

/// What is found in the log's directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Numbers of the segments, rising.
    pub(crate) segments: Vec<u64>,
    /// Names of files that wait to be used again.
    pub(crate) spares: Vec<String>,
}

impl Listing {
    pub(crate) fn read(disk: &dyn Disk) -> Result<Self, StorageError> {
        let mut listing = Self::default();
        for name in disk.list(DIRECTORY).map_err(StorageError::io("listing", DIRECTORY))? {
            if let Some(number) = parse_segment_name(&name) {
                listing.segments.push(number);
            } else if parse_spare_name(&name).is_some() {
                listing.spares.push(format!("{DIRECTORY}/{name}"));
            } else {
                tracing::warn!(file = %name, "a file in the log's directory that is not of the log is left alone");
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) name: String,
    pub(crate) file: Box<dyn DiskFile>,
    /// How far the file has been written, with zeros at least.
    pub(crate) filled: u64,
    /// Where the next batch goes.
    pub(crate) end: u64,
}

impl Segment {
    /// Whether it holds no batch yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES as u64
    }

    /// Writes behind everything that is in the segment. If the file has no blocks there, zeros are written ahead, for
    /// which the file system takes blocks. They become durable with the bytes, so that what is written behind those need
    /// not wait for that (`examples/append_speed.rs` measures it).
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        offset: u64,
        segment_bytes: u64,
    ) -> Result<(), StorageError> {
        let end = offset + bytes.len() as u64;
        let step = (segment_bytes / FILL_STEPS).max(FILL_BYTES_MIN);
        let ahead = if end <= self.filled { 0 } else { segment_bytes.saturating_sub(end).min(step) };
        let zeros = usize::try_from(ahead).expect("a part of a segment fits memory");
        self.file.append_at(bytes, zeros, offset).map_err(StorageError::io("writing", &self.name))?;
        self.filled = self.filled.max(end + ahead);
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(StorageError::io("syncing", &self.name))
    }
}

impl Spare {
    /// Whether it is worth keeping beside `kept` others: not if a huge write made it huge. The disk may have rounded its
    /// size up to whole blocks.
    pub(crate) fn is_usable(&self, options: LogOptions, kept: usize) -> bool {
        self.bytes <= options.segment_bytes.next_multiple_of(BLOCK_BYTES as u64)
            && kept < options.recycled_segments_max
    }
}

/// All files of the log.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    disk: Arc<dyn Disk>,
    owner: Owner,
    options: LogOptions,
    /// Consecutive, oldest first; batches go to the last one.
    live: VecDeque<Segment>,
    spares: Vec<Spare>,
}

/// A file that waits to be used again: its contents no longer matter, that its blocks are written does.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl SegmentSet {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        owner: Owner,
        options: LogOptions,
        live: VecDeque<Segment>,
        spares: Vec<Spare>,
    ) -> Self {
        Self { disk, owner, options, live, spares }
    }

    pub(crate) fn current(&self) -> &Segment {
        self.live.back().expect("the log has a segment from the time it is opened")
    }

    pub(crate) fn current_mut(&mut self) -> &mut Segment {
        self.live.back_mut().expect("the log has a segment from the time it is opened")
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Segment> {
        let first = self.live.front()?.header.number;
        self.live.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Where the log ends, all of it being durable.
    pub(crate) fn mark(&self, tail: Tail) -> Mark {
        let current = self.current();
        Mark { tail, segment: current.header.number, end: current.end }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        let live: u64 = self.live.iter().map(|segment| segment.filled).sum();
        let spare: u64 = self.spares.iter().map(|spare| spare.bytes).sum();
        live + spare
    }

    /// Begins the next segment. Its header is durable before it gets its name, so a file that is named as a
    /// segment always has a good header, and everything in the segment before is durable by then.
    pub(crate) fn begin_next(&mut self, tail: Tail) -> Result<(), StorageError> {
        let header = match self.live.back() {
            Some(last) => SegmentHeader::following(self.owner, last.header.number + 1, last.end, tail),
            None => SegmentHeader::following(self.owner, 1, 0, tail),
        };
        let spare = self.spares.pop().map_or_else(|| spare_name(header.number), |spare| spare.name);
        let name = segment_name(header.number);
        let file = self.disk.open(&spare, true).map_err(StorageError::io("creating", &spare))?;
        let filled = file.size().map_err(StorageError::io("reading the size of", &spare))?;
        let mut segment = Segment { header, name: spare, file, filled, end: SEGMENT_HEADER_BYTES as u64 };
        segment.append(&header.encode(), 0, self.options.segment_bytes)?;
        segment.sync()?;
        self.disk.rename(&segment.name, &name).map_err(StorageError::io("naming", &name))?;
        self.sync_directory()?;
        segment.name = name;
        self.live.push_back(segment);
        Ok(())
    }

    /// Gives up segments below `number`, oldest first, each durably before the next, so that those that are
    /// left are consecutive at any time.
    pub(crate) fn release_below(&mut self, number: u64) -> Result<(), StorageError> {
        while self.live.len() > 1 && self.live.front().is_some_and(|oldest| oldest.header.number < number) {
            if let Some(oldest) = self.live.pop_front() {
                self.retire(oldest)?;
            }
        }
        Ok(())
    }

    fn retire(&mut self, segment: Segment) -> Result<(), StorageError> {
        let Segment { header, name, file, filled, end: _ } = segment;
        // The disk gives up what a removed file held where nobody waits, if it is closed here.
        drop(file);
        let spare = Spare { name: spare_name(header.number), bytes: filled };
        if spare.is_usable(self.options, self.spares.len()) {
            self.disk.rename(&name, &spare.name).map_err(StorageError::io("recycling", &name))?;
            self.spares.push(spare);
        } else {
            self.disk.remove(&name).map_err(StorageError::io("removing", &name))?;
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.disk.sync_directory(DIRECTORY).map_err(StorageError::io("syncing", DIRECTORY))
    }
}
