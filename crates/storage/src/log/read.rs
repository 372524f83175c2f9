//! Reading entries back.

use bytes::Bytes;
use ruvector_protocol::{Entry, GroupId, Index};

use super::advice::ADVICE;
use super::batch::{BatchBuffer, place_seed};
use super::index::Location;
use super::record::{self, Decoded, RecordDefect};
use super::segment::{Segment, SegmentSet};
use crate::error::StorageError;

/// Entries that lie near each other are read at once: at most this many bytes,
const SPAN_BYTES_MAX: u64 = 4 << 20;
/// and across gaps (records of other groups) of at most this many.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// What entries are read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) segments: &'a SegmentSet,
    /// What is not written yet is still here.
    pub(super) batch: &'a BatchBuffer,
    pub(super) group: GroupId,
}

impl Source<'_> {
    /// Reads the entries at `locations`, as many as fit `bytes_max` but at least one.
    pub(super) fn read(
        self,
        locations: impl Iterator<Item = (Index, Location)>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut entries = Vec::new();
        let mut span: Vec<(Index, Location)> = Vec::new();
        let mut bytes = 0_usize;
        for (index, location) in locations {
            bytes = bytes.saturating_add(location.bytes as usize);
            if bytes > bytes_max && (!entries.is_empty() || !span.is_empty()) {
                break;
            }
            if !self.extends(&span, location) {
                self.read_span(&span, &mut entries)?;
                span.clear();
            }
            span.push((index, location));
        }
        self.read_span(&span, &mut entries)?;
        Ok(entries)
    }

    /// Whether an entry can be read together with those of the span.
    fn extends(self, span: &[(Index, Location)], next: Location) -> bool {
        let (Some((_, first)), Some((_, last))) = (span.first(), span.last()) else { return true };
        next.segment == last.segment
            && self.is_written(next) == self.is_written(*last)
            && u64::from(next.offset) <= end(*last) + GAP_BYTES_MAX
            && end(next) <= u64::from(first.offset) + SPAN_BYTES_MAX
    }

    fn is_written(self, location: Location) -> bool {
        self.batch.slice(location.segment, u64::from(location.offset), location.bytes as usize).is_none()
    }

    fn read_span(self, span: &[(Index, Location)], entries: &mut Vec<Entry>) -> Result<(), StorageError> {
        let (Some((_, first)), Some((_, last))) = (span.first(), span.last()) else { return Ok(()) };
        let segment = self.segments.get(first.segment).expect("a segment stays while an entry in it is held");
        let start = u64::from(first.offset);
        let length = usize::try_from(end(*last) - start).expect("a segment is smaller than 4 GiB");
        let mut buffer = Vec::new();
        let bytes = match self.batch.slice(first.segment, start, length) {
            Some(bytes) => bytes,
            None => {
                buffer.resize(length, 0);
                segment
                    .file
                    .read_at(&mut buffer, start)
                    .map_err(StorageError::io("reading", &segment.name))?;
                &buffer[..]
            }
        };
        for (index, location) in span {
            let from = (location.offset - first.offset) as usize;
            let record = &bytes[from..from + location.bytes as usize];
            entries.push(decode_entry(segment, self.group, *index, *location, record)?);
        }
        Ok(())
    }
}

fn end(location: Location) -> u64 {
    u64::from(location.offset) + u64::from(location.bytes)
}

fn decode_entry(
    segment: &Segment,
    group: GroupId,
    index: Index,
    location: Location,
    bytes: &[u8],
) -> Result<Entry, StorageError> {
    let seed = place_seed(segment.header.salt, u64::from(location.offset));
    let what = match record::decode(bytes, seed, Bytes::copy_from_slice) {
        Ok((found, Decoded::Entry(entry), _)) if found == group && entry.index == index => return Ok(entry),
        Ok(_) => format!("entry {index} of group {group} is not where it was written"),
        Err(RecordDefect::Damaged(what)) => format!("entry {index} of group {group}: {what}"),
        Err(RecordDefect::UnknownKind(kind)) => format!("entry {index} of group {group} is of kind {kind}"),
    };
    let offset = u64::from(location.offset);
    Err(StorageError::Corrupt { file: segment.name.clone(), offset, what, advice: ADVICE })
}
