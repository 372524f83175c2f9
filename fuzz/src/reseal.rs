//! Makes damaged log segments pass their checksums, so that what lies behind the checksums is tried, too. Written after
//! docs/DISK_FORMAT.md and not after the code it tests.

use crate::OWNER;

const SEGMENT_HEADER_BYTES: usize = 64;
const BATCH_HEADER_BYTES: usize = 32;
const RECORD_HEADER_BYTES: usize = 17;

/// Corrects the checksums of consecutive segments, and what they say of each other.
pub fn segments<'a>(segments: impl Iterator<Item = &'a mut Vec<u8>>) {
    let mut before: Option<Tail> = None;
    for segment in segments {
        let Some(header) = segment.first_chunk_mut::<SEGMENT_HEADER_BYTES>() else { return };
        let mut tail = Tail { sequence: long(header, 24), chain: word(header, 40), end: 0 };
        if let Some(before) = before {
            header[24..32].copy_from_slice(&before.sequence.to_le_bytes());
            header[32..40].copy_from_slice(&before.end.to_le_bytes());
            header[40..44].copy_from_slice(&before.chain.to_le_bytes());
            tail = before;
        }
        // What an earlier version wrote, as some of the corpus, and what belongs to somebody else would not be looked at.
        if word(header, 8) == 1 {
            header[8..12].copy_from_slice(&2_u32.to_le_bytes());
        }
        header[44..52].copy_from_slice(&OWNER.cluster_id.to_le_bytes());
        header[52..60].copy_from_slice(&OWNER.node.0.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
        batches(segment, &mut tail);
        before = Some(tail);
    }
}

/// Where the log stands.
#[derive(Clone, Copy)]
struct Tail {
    sequence: u64,
    chain: u32,
    end: u64,
}

fn batches(segment: &mut [u8], tail: &mut Tail) {
    let salt = word(segment, 12);
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Some(batch) = segment.get_mut(offset..).filter(|batch| is_batch(batch)) {
        let bytes = BATCH_HEADER_BYTES + word(batch, 4) as usize;
        let (header, body) = batch[..bytes].split_at_mut(BATCH_HEADER_BYTES);
        records(body, salt, (offset + BATCH_HEADER_BYTES) as u64);
        header[8..16].copy_from_slice(&tail.sequence.to_le_bytes());
        header[16..20].copy_from_slice(&tail.chain.to_le_bytes());
        header[20..24].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        let checksum = crc32c::crc32c_append(seed(salt, offset as u64), &header[..28]);
        header[28..].copy_from_slice(&checksum.to_le_bytes());
        offset += bytes;
        *tail = Tail { sequence: tail.sequence.wrapping_add(1), chain: checksum, end: offset as u64 };
    }
    tail.end = offset as u64;
}

fn is_batch(bytes: &[u8]) -> bool {
    bytes.len() >= BATCH_HEADER_BYTES
        && bytes.starts_with(b"RVB\x01")
        && bytes.len() - BATCH_HEADER_BYTES >= word(bytes, 4) as usize
}

fn records(mut body: &mut [u8], salt: u32, mut offset: u64) {
    while body.len() >= RECORD_HEADER_BYTES {
        let bytes = RECORD_HEADER_BYTES.saturating_add(word(body, 4) as usize);
        let Some((record, rest)) = body.split_at_mut_checked(bytes) else { return };
        let checksum = crc32c::crc32c_append(seed(salt, offset), &record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        offset += bytes as u64;
        body = rest;
    }
}

fn seed(salt: u32, offset: u64) -> u32 {
    crc32c::crc32c_append(salt, &offset.to_le_bytes())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
