//! The hash of the contents: a sum of record hashes.
//!
//! A sum can be kept up to date in O(1) for each record that comes or goes, and does not depend on the order
//! in which records are visited, so it can be computed again from a snapshot. It finds damage and replicas
//! that went apart; it is no defence against someone who chooses records to collide.

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::command::{LeaseId, Revision};
use super::session::SessionId;
use super::stored::Version;

/// The wrapping sum of the hashes of all records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContentHash(u128);

impl ContentHash {
    /// A record has come.
    pub(super) fn add(&mut self, record: RecordHash) {
        self.0 = self.0.wrapping_add(record.0);
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
        let mut fields = Fields::new(Tag::Version);
        fields.integer(version.create_revision.0);
        fields.integer(version.mod_revision.0);
        fields.integer(version.version);
        fields.integer(version.lease.map_or(0, |lease| lease.0));
        fields.bytes(version.key);
        fields.bytes(version.value);
        fields.finish()
    }

    /// Of a change's place in history.
    pub(super) fn of_history(sequence: u64, version: &Version<'_>) -> Self {
        let mut fields = Fields::new(Tag::History);
        fields.unsigned(sequence);
        fields.integer(version.mod_revision.0);
        fields.bytes(version.key);
        fields.finish()
    }

    /// Of a lease. Its keys need no hash of their own: every version names its lease.
    pub(super) fn of_lease(id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64) -> Self {
        let mut fields = Fields::new(Tag::Lease);
        fields.integer(id.0);
        fields.integer(granted_ttl_seconds);
        fields.unsigned(expires_at_ms);
        fields.finish()
    }

    /// Of a session.
    pub(super) fn of_session(id: SessionId) -> Self {
        let mut fields = Fields::new(Tag::Session);
        fields.unsigned(id.0);
        fields.finish()
    }

    /// Of an answer that a session remembers.
    pub(super) fn of_answer(id: SessionId, sequence: u64, revision: Revision) -> Self {
        let mut fields = Fields::new(Tag::Answer);
        fields.unsigned(id.0);
        fields.unsigned(sequence);
        fields.integer(revision.0);
        fields.finish()
    }

    /// Of the counters that belong to no record.
    pub(super) fn of_counters(
        revision: Revision,
        compacted: Revision,
        time_ms: u64,
        history_first_sequence: u64,
        sessions_opened: u64,
    ) -> Self {
        let mut fields = Fields::new(Tag::Counters);
        fields.integer(revision.0);
        fields.integer(compacted.0);
        fields.unsigned(time_ms);
        fields.unsigned(history_first_sequence);
        fields.unsigned(sessions_opened);
        fields.finish()
    }
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
}

/// The longest record that is hashed at once. A state that takes parts is 576 bytes to be set up, which is most of
/// the work for a record that is short.
const SHORT_BYTES_MAX: usize = 512;

/// The fields of one record on their way into its hash; byte strings go in with their length before them.
///
/// The fields of a short record are gathered, and hashed at once; the hash is the same.
struct Fields {
    gathered: [u8; SHORT_BYTES_MAX],
    length: usize,
    /// Takes the fields of a record that is not short, those gathered before among them.
    long: Option<Box<Xxh3Default>>,
}

impl Fields {
    fn new(tag: Tag) -> Self {
        let mut fields = Self { gathered: [0; SHORT_BYTES_MAX], length: 0, long: None };
        fields.update(&[tag as u8]);
        fields
    }

    fn integer(&mut self, value: i64) {
        self.update(&value.to_le_bytes());
    }

    fn unsigned(&mut self, value: u64) {
        self.update(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.unsigned(value.len() as u64);
        self.update(value);
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(long) = &mut self.long {
            return long.update(bytes);
        }
        if let Some(free) = self.gathered[self.length..].get_mut(..bytes.len()) {
            free.copy_from_slice(bytes);
            self.length += bytes.len();
            return;
        }
        let mut long = Box::new(Xxh3Default::new());
        long.update(&self.gathered[..self.length]);
        long.update(bytes);
        self.long = Some(long);
    }

    fn finish(self) -> RecordHash {
        RecordHash(match self.long {
            Some(long) => long.digest128(),
            None => xxh3_128(&self.gathered[..self.length]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_hashes_alike_whether_it_is_gathered_or_not() {
        for length in (0..2 * SHORT_BYTES_MAX).step_by(7).chain(SHORT_BYTES_MAX - 20..SHORT_BYTES_MAX + 20) {
            let bytes: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut fields = Fields::new(Tag::Version);
            fields.bytes(&bytes);
            fields.integer(-1);
            let mut whole = vec![Tag::Version as u8];
            whole.extend((length as u64).to_le_bytes());
            whole.extend(&bytes);
            whole.extend((-1_i64).to_le_bytes());
            assert_eq!(fields.finish(), RecordHash(xxh3_128(&whole)), "{length} bytes");
        }
    }
}
