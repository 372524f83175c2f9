//! The hash of the contents: a sum of record hashes.
//!
//! A sum can be kept up to date in O(1) for each record that comes or goes, and does not depend on the order
//! in which records are visited, so it can be computed again from a snapshot. It finds damage and replicas
//! that went apart; it is no defence against someone who chooses records to collide.

use postcard::ser_flavors::Flavor;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::command::{LeaseId, Response, Retention, Revision};
use super::compaction::owed::Owed;
use super::retention::marks::Mark;
use super::session::facts::{SessionClient, SessionFacts, SessionId};
use super::stored::Version;

/// The wrapping sum of the hashes of all records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContentHash(u128);

impl ContentHash {
    /// A record has come.
    pub(super) fn add(&mut self, record: RecordHash) {
        self.0 = self.0.wrapping_add(record.0);
    }

    /// All records of another sum have come.
    pub(super) fn add_all(&mut self, records: Self) {
        self.0 = self.0.wrapping_add(records.0);
    }

    /// All records of another sum have gone.
    pub(super) fn remove_all(&mut self, records: Self) {
        self.0 = self.0.wrapping_sub(records.0);
    }

    /// A record has gone.
    pub(super) fn remove(&mut self, record: RecordHash) {
        self.0 = self.0.wrapping_sub(record.0);
    }

    /// The sum with one more record, which stands for what changes too often to be kept in it.
    pub(super) fn with(self, record: RecordHash) -> u128 {
        self.0.wrapping_add(record.0)
    }
}

/// The hash of one record: XXH3 over a tag and its fields, 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHash(u128);

impl RecordHash {
    /// Of one version of a key, tombstones included.
    pub(super) fn of_version(version: &Version<'_>) -> Self {
        let numbers = [
            version.create_revision.0,
            version.mod_revision.0,
            version.version,
            version.lease.map_or(0, |lease| lease.0),
        ];
        let mut fields = Fields::new(Tag::Version, numbers.map(i64::cast_unsigned));
        fields.bytes(version.key);
        fields.bytes(version.value);
        fields.finish()
    }

    /// Of a change's place in history.
    pub(super) fn of_history(sequence: u64, version: &Version<'_>) -> Self {
        let mut fields = Fields::new(Tag::History, [sequence, version.mod_revision.0.cast_unsigned()]);
        fields.bytes(version.key);
        fields.finish()
    }

    /// Of a lease. Its keys need no hash of their own: every version names its lease.
    pub(super) fn of_lease(id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64) -> Self {
        let numbers = [id.0.cast_unsigned(), granted_ttl_seconds.cast_unsigned(), expires_at_ms];
        Self::of_numbers(Tag::Lease, numbers)
    }

    /// Of a session.
    pub(super) fn of_session(id: SessionId, facts: &SessionFacts) -> Self {
        let SessionFacts { client: SessionClient(client), settled_below, used_at_ms } = *facts;
        let [client_low, client_high] = [client as u64, (client >> 64) as u64];
        Self::of_numbers(Tag::Session, [id.0, client_low, client_high, settled_below, used_at_ms])
    }

    /// Of an answer that a session remembers.
    pub(super) fn of_answer(id: SessionId, sequence: u64, answer: &Response) -> Self {
        let fields = Fields::new(Tag::Answer, [id.0, sequence]);
        postcard::serialize_with_flavor(answer, fields)
            .expect("an answer is plain data and a hash takes all of it")
    }

    /// Of a record that is nothing but a few numbers.
    fn of_numbers<const COUNT: usize>(tag: Tag, numbers: [u64; COUNT]) -> Self {
        const { assert!(COUNT * size_of::<u64>() < NUMBERS_BYTES_MAX) };
        let mut bytes = [0; NUMBERS_BYTES_MAX];
        Self(xxh3_128(gather(tag, numbers, &mut bytes)))
    }

    /// Of what was written by when.
    pub(super) fn of_mark(mark: &Mark) -> Self {
        let Mark { time_ms, revision, written_bytes } = *mark;
        Self::of_numbers(Tag::Mark, [time_ms, revision.0.cast_unsigned(), written_bytes])
    }

    /// Of the counters that belong to no record.
    pub(super) fn of_counters(counters: &Counters) -> Self {
        let Counters { revision, compacted, owed, time_ms, .. } = *counters;
        let Counters { history_first_sequence, history_written_bytes, sessions_opened, .. } = *counters;
        let Retention { age_ms, bytes } = counters.retention;
        let numbers = [
            revision.0.cast_unsigned(),
            compacted.0.cast_unsigned(),
            owed.record_quarters,
            owed.bytes,
            time_ms,
            history_first_sequence,
            counters.stripped,
            history_written_bytes,
            sessions_opened,
            u64::from(age_ms.is_some()),
            age_ms.unwrap_or_default(),
            u64::from(bytes.is_some()),
            bytes.unwrap_or_default(),
        ];
        Self::of_numbers(Tag::Counters, numbers)
    }
}

/// What belongs to no record, and changes too often to be kept in the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) owed: Owed,
    pub(super) time_ms: u64,
    pub(super) history_first_sequence: u64,
    pub(super) stripped: u64,
    pub(super) history_written_bytes: u64,
    pub(super) sessions_opened: u64,
    pub(super) retention: Retention,
}

/// What a record is, so that records of different kinds never hash alike.
#[derive(Clone, Copy)]
enum Tag {
    Version = 1,
    History = 2,
    Lease = 3,
    Counters = 4,
    Session = 5,
    Answer = 6,
    Mark = 7,
}

/// Enough for a record that is nothing but a few numbers.
const NUMBERS_BYTES_MAX: usize = 128;
/// The longest record that is hashed at once. A state that takes parts is 576 bytes to be set up, which is most of
/// the work for a record that is short.
const SHORT_BYTES_MAX: usize = 512;

/// The fields of one record on their way into its hash: its numbers, signed ones as two's complement, and then its byte
/// strings, each with its length before it.
///
/// The fields of a short record are gathered, and hashed at once; the hash is the same.
struct Fields {
    gathered: [u8; SHORT_BYTES_MAX],
    length: usize,
    /// Takes the fields of a record that is not short, those gathered before among them.
    long: Option<Box<Xxh3Default>>,
}

impl Fields {
    fn new<const COUNT: usize>(tag: Tag, numbers: [u64; COUNT]) -> Self {
        let mut gathered = [0; SHORT_BYTES_MAX];
        let length = gather(tag, numbers, &mut gathered).len();
        Self { gathered, length, long: None }
    }

    fn bytes(&mut self, value: &[u8]) {
        self.update(&(value.len() as u64).to_le_bytes());
        self.update(value);
    }

    #[inline]
    fn update(&mut self, bytes: &[u8]) {
        match self.gathered[self.length..].get_mut(..bytes.len()) {
            Some(free) if self.long.is_none() => {
                free.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            Some(_) | None => self.update_long(bytes),
        }
    }

    fn update_long(&mut self, bytes: &[u8]) {
        let long = self.long.get_or_insert_with(|| {
            let mut long = Box::new(Xxh3Default::new());
            long.update(&self.gathered[..self.length]);
            long
        });
        long.update(bytes);
    }

    fn finish(&self) -> RecordHash {
        RecordHash(match &self.long {
            Some(long) => long.digest128(),
            None => xxh3_128(&self.gathered[..self.length]),
        })
    }
}

/// Lays tag and numbers one behind the other, and returns how far they reach.
fn gather<const COUNT: usize>(tag: Tag, numbers: [u64; COUNT], room: &mut [u8]) -> &[u8] {
    room[0] = tag as u8;
    for (place, number) in room[1..].chunks_exact_mut(size_of::<u64>()).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    &room[..1 + COUNT * size_of::<u64>()]
}

/// What is encoded becomes one more field, the last one.
impl Flavor for Fields {
    type Output = RecordHash;

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.update(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.update(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<RecordHash> {
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_hashes_alike_whether_it_is_gathered_or_not() {
        for length in (0..2 * SHORT_BYTES_MAX).step_by(7).chain(SHORT_BYTES_MAX - 20..SHORT_BYTES_MAX + 20) {
            let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut fields = Fields::new(Tag::Version, [(-1_i64).cast_unsigned()]);
            fields.bytes(&bytes);
            fields.bytes(b"end");
            let mut whole = vec![Tag::Version as u8];
            whole.extend((-1_i64).to_le_bytes());
            whole.extend((length as u64).to_le_bytes());
            whole.extend(&bytes);
            whole.extend(3_u64.to_le_bytes());
            whole.extend(b"end");
            assert_eq!(fields.finish(), RecordHash(xxh3_128(&whole)), "{length} bytes");
        }
    }
}
