//! Segments that were changed behind the log's back, with checksums that are right.

/// Where the last batch of a segment begins.
pub(crate) fn last_batch(segment: &[u8]) -> usize {
    (0..segment.len()).step_by(8).rev().find(|&at| segment[at..].starts_with(b"RVB\x01")).unwrap()
}

/// Makes the checksum of a segment's header right.
pub(crate) fn reseal_header(segment: &mut [u8]) {
    let checksum = crc32c::crc32c(&segment[..60]);
    segment[60..64].copy_from_slice(&checksum.to_le_bytes());
}

/// Makes all checksums of a segment's last batch right, which has as many records and bytes as its header says.
pub(crate) fn reseal_last_batch(segment: &mut [u8]) {
    let salt = number(segment, 12);
    let seed = |offset: usize| crc32c::crc32c_append(salt, &(offset as u64).to_le_bytes());
    let batch = last_batch(segment);
    let body = batch + 32..batch + 32 + number(segment, batch + 4) as usize;
    let mut record = body.start;
    for _ in 0..number(segment, batch + 24) {
        let end = record + 17 + number(segment, record + 4) as usize;
        let checksum = crc32c::crc32c_append(seed(record), &segment[record + 4..end]);
        segment[record..record + 4].copy_from_slice(&checksum.to_le_bytes());
        record = end;
    }
    let checksum = crc32c::crc32c(&segment[body]);
    segment[batch + 20..batch + 24].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32c::crc32c_append(seed(batch), &segment[batch..batch + 28]);
    segment[batch + 28..batch + 32].copy_from_slice(&checksum.to_le_bytes());
}

fn number(segment: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(segment[at..at + 4].try_into().unwrap())
}
