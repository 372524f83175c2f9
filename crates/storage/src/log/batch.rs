//! Batches: what one sync makes durable, whole or not at all. docs/DISK_FORMAT.md, "Batches".

use bytes::{Buf, BufMut};
use ruvector_protocol::GroupId;

use super::index::Location;
use super::record::Record;

/// Bytes of a batch in front of its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 32;

/// Batches begin at multiples of this, so that a search for one is quick.
pub(crate) const BATCH_ALIGNMENT: usize = 8;

const MAGIC: u32 = u32::from_le_bytes(*b"RVB\x01");

/// Where the log ends: what the next batch follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The sequence number of the next batch.
    pub(crate) next_sequence: u64,
    /// The checksum of the last batch's header, which covers all before it.
    pub(crate) chain: u32,
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) body_bytes: u32,
    pub(crate) sequence: u64,
    pub(crate) previous: u32,
    pub(crate) body_checksum: u32,
    pub(crate) record_count: u32,
    pub(crate) checksum: u32,
}

/// The seed of a checksum: it stands for the segment and the place in it, so that bytes of an earlier use of
/// the file and bytes written to a wrong place are no more valid than noise.
pub(crate) fn place_seed(salt: u32, offset: u64) -> u32 {
    crc32c::crc32c_append(salt, &offset.to_le_bytes())
}

impl BatchHeader {
    fn encode(&self, salt: u32, offset: u64) -> ([u8; BATCH_HEADER_BYTES], u32) {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32_le(MAGIC);
        out.put_u32_le(self.body_bytes);
        out.put_u64_le(self.sequence);
        out.put_u32_le(self.previous);
        out.put_u32_le(self.body_checksum);
        out.put_u32_le(self.record_count);
        let checksum = crc32c::crc32c_append(place_seed(salt, offset), &bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// The header at `offset` of a segment's bytes, if there is one.
    pub(crate) fn find(segment: &[u8], offset: usize, salt: u32) -> Option<Self> {
        let bytes = segment.get(offset..offset.checked_add(BATCH_HEADER_BYTES)?)?;
        let mut rest = bytes;
        if rest.get_u32_le() != MAGIC {
            return None;
        }
        let header = Self {
            body_bytes: rest.get_u32_le(),
            sequence: rest.get_u64_le(),
            previous: rest.get_u32_le(),
            body_checksum: rest.get_u32_le(),
            record_count: rest.get_u32_le(),
            checksum: rest.get_u32_le(),
        };
        let computed = crc32c::crc32c_append(place_seed(salt, offset as u64), &bytes[..28]);
        (computed == header.checksum).then_some(header)
    }

    /// The records behind this header at `offset`, if all of them are there as they were written.
    pub(crate) fn body<'a>(&self, segment: &'a [u8], offset: usize) -> Option<&'a [u8]> {
        let start = offset + BATCH_HEADER_BYTES;
        let body = segment.get(start..start.checked_add(self.body_bytes as usize)?)?;
        (crc32c::crc32c(body) == self.body_checksum).then_some(body)
    }
}

/// The batch being put together.
#[derive(Debug)]
pub(crate) struct BatchBuffer {
    segment: u64,
    salt: u32,
    start: u64,
    record_count: u32,
    bytes: Vec<u8>,
}

/// How much of the buffer's memory is kept between batches.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl BatchBuffer {
    pub(crate) fn new() -> Self {
        Self { segment: 0, salt: 0, start: 0, record_count: 0, bytes: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins a batch that will be written to `start` of a segment.
    pub(crate) fn begin(&mut self, segment: u64, salt: u32, start: u64) {
        assert!(self.is_empty(), "the batch before must be written first");
        self.segment = segment;
        self.salt = salt;
        self.start = start;
        self.record_count = 0;
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
    }

    /// Where in the segment the batch ends if nothing more is added.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub(crate) fn push(&mut self, group: GroupId, record: Record<'_>) -> Location {
        assert!(!self.is_empty(), "a batch must be begun before records are added");
        let offset = self.end();
        record.encode(&mut self.bytes, group, place_seed(self.salt, offset));
        self.record_count += 1;
        Location {
            segment: self.segment,
            offset: u32::try_from(offset).expect("a segment is smaller than 4 GiB"),
            bytes: u32::try_from(self.end() - offset).expect("a record is smaller than 4 GiB"),
        }
    }

    /// Completes the header; returns the place, the bytes to be written there, and the tail behind them.
    pub(crate) fn seal(&mut self, tail: Tail) -> (u64, &[u8], Tail) {
        let padded = self.bytes.len().next_multiple_of(BATCH_ALIGNMENT);
        self.bytes.resize(padded, 0);
        let body = &self.bytes[BATCH_HEADER_BYTES..];
        let header = BatchHeader {
            body_bytes: u32::try_from(body.len()).expect("a batch is smaller than 4 GiB"),
            sequence: tail.next_sequence,
            previous: tail.chain,
            body_checksum: crc32c::crc32c(body),
            record_count: self.record_count,
            checksum: 0,
        };
        let (header, chain) = header.encode(self.salt, self.start);
        self.bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        (self.start, &self.bytes, Tail { next_sequence: tail.next_sequence + 1, chain })
    }

    /// Forgets the batch, after it was written.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Bytes of the batch at a place, if they are in it: what was appended can be read before it is durable.
    pub(crate) fn slice(&self, segment: u64, offset: u64, length: usize) -> Option<&[u8]> {
        if self.is_empty() || segment != self.segment {
            return None;
        }
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}
