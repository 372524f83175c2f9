//! A version of the store as a stream of bytes.
//!
//! ```text
//! magic "rvkvsnap" · format version, u32 little-endian · records
//! record: length of its body, u32 little-endian · body, postcard of [`Record`]
//! order:  Header · Lease by id · Session by id, each with its Answers by number · Base by key · Change oldest first · End
//! ```
//! Everything is streamed: neither side holds more than one record beside the store itself. The format has no
//! checksum of its own, since files have one per chunk, but the end record carries the state hash, and a
//! reader that arrives at another one refuses the snapshot.

mod record;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use super::command::{LeaseId, Response};
use super::history::History;
use super::lease::LEASE_TTL_SECONDS_MAX;
use super::session::{InSession, SessionId};
use super::store::{OutOfOrder, Store};
use super::stored::{StoredVersion, Version};
use crate::machine::RestoreError;
use record::{Record, RecordReader, RecordWriter, damaged, require};

/// No counter of a real store comes near this; with this bound none can overflow after a restore.
const COUNTER_MAX: i64 = i64::MAX / 2;

/// Writes a store.
pub(super) fn write(store: &Store, writer: &mut dyn Write) -> io::Result<()> {
    let mut writer = RecordWriter::start(writer)?;
    writer.write(&Record::Header {
        revision: store.revision,
        compacted: store.compacted,
        time_ms: store.time_ms,
        history_first_sequence: store.history.first_sequence(),
        sessions_opened: store.sessions.opened(),
    })?;
    for (&id, lease) in store.leases.iter() {
        let (granted_ttl_seconds, expires_at_ms) = (lease.granted_ttl_seconds, lease.expires_at_ms);
        writer.write(&Record::Lease { id, granted_ttl_seconds, expires_at_ms })?;
    }
    for (id, session) in store.sessions.iter() {
        let (settled_below, used_at_ms) = (session.settled_below, session.used_at_ms);
        writer.write(&Record::Session { id, settled_below, used_at_ms })?;
        for (sequence, answer) in session.answers() {
            writer.write(&Record::Answer { sequence, answer: answer.clone() })?;
        }
    }
    for version in base_versions(store) {
        writer.write(&Record::Base(version.parts()))?;
    }
    for version in store.history.iter() {
        writer.write(&Record::Change(version.parts()))?;
    }
    writer.finish(store.state_hash())
}

/// The versions that are older than history, by key. Compaction may have stopped in the middle of
/// a revision; its changes that are still in history are no base.
fn base_versions(store: &Store) -> impl Iterator<Item = &StoredVersion> {
    let history_start = store.history.oldest().map(StoredVersion::mod_revision);
    let first_in_history: BTreeSet<&[u8]> = store
        .history
        .iter()
        .take_while(|version| Some(version.mod_revision()) == history_start)
        .map(StoredVersion::key)
        .collect();
    store.keys.values().map(super::versions::Versions::oldest).filter(move |version| match history_start {
        None => true,
        Some(start) if version.mod_revision() == start => !first_in_history.contains(version.key()),
        Some(start) => version.mod_revision() < start,
    })
}

/// Reads a store.
pub(super) fn read(reader: &mut dyn Read) -> Result<Store, RestoreError> {
    let mut reader = RecordReader::start(reader)?;
    let mut store = read_header(&mut reader)?;
    let mut section = Section::Leases;
    let mut session = None;
    let mut some_are_leased = false;
    loop {
        let record = reader.next()?;
        section = section.after(&record)?;
        some_are_leased |= record.lease().is_some();
        match record {
            Record::Lease { id, granted_ttl_seconds, expires_at_ms } => {
                add_lease(&mut store, id, granted_ttl_seconds, expires_at_ms)?;
            }
            Record::Session { id, settled_below, used_at_ms } => {
                session = Some(add_session(&mut store, id, settled_below, used_at_ms)?);
            }
            Record::Answer { sequence, answer } => add_answer(&mut store, session, sequence, answer)?,
            Record::Base(version) => add_base(&mut store, &version)?,
            Record::Change(version) => add_change(&mut store, &version)?,
            Record::Header { .. } => return Err(damaged("a second header")),
            Record::End { records, state_hash } => {
                reader.expect_end(records)?;
                if some_are_leased {
                    attach_keys_to_leases(&mut store)?;
                }
                return checked(store, state_hash);
            }
        }
    }
}

fn read_header(reader: &mut RecordReader<'_>) -> Result<Store, RestoreError> {
    match reader.next()? {
        Record::Header { revision, compacted, time_ms, history_first_sequence, sessions_opened } => {
            require((1..COUNTER_MAX).contains(&revision.0), "its revision is out of bounds")?;
            require((0..=revision.0).contains(&compacted.0), "it is compacted beyond its revision")?;
            let sequence_in_bounds = history_first_sequence < COUNTER_MAX.unsigned_abs();
            require(sequence_in_bounds, "its number of changes is out of bounds")?;
            let mut store = Store::default();
            store.history = History::starting_at(history_first_sequence);
            store.revision = revision;
            store.compacted = compacted;
            store.time_ms = time_ms;
            require(sessions_opened < COUNTER_MAX.unsigned_abs(), "its number of sessions is out of bounds")?;
            store.set_sessions_opened(sessions_opened);
            Ok(store)
        }
        Record::Lease { .. }
        | Record::Session { .. }
        | Record::Answer { .. }
        | Record::Base(_)
        | Record::Change(_)
        | Record::End { .. } => Err(damaged("the header is not first")),
    }
}

/// Which kind of records is being read.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Section {
    Leases,
    Sessions,
    Base,
    Changes,
    End,
}

impl Section {
    fn after(self, record: &Record<'_>) -> Result<Self, RestoreError> {
        let section = match record {
            Record::Header { .. } | Record::Lease { .. } => Self::Leases,
            Record::Session { .. } | Record::Answer { .. } => Self::Sessions,
            Record::Base(_) => Self::Base,
            Record::Change(_) => Self::Changes,
            Record::End { .. } => Self::End,
        };
        require(self <= section, "its records are out of order")?;
        Ok(section)
    }
}

fn add_lease(
    store: &mut Store,
    id: LeaseId,
    ttl_seconds: i64,
    expires_at_ms: u64,
) -> Result<(), RestoreError> {
    require(id.0 != 0 && store.leases.get(id).is_none(), "a lease id is 0 or not unique")?;
    require((1..=LEASE_TTL_SECONDS_MAX).contains(&ttl_seconds), "a lease's time to live is out of bounds")?;
    store.insert_lease(id, ttl_seconds, expires_at_ms);
    Ok(())
}

fn add_session(
    store: &mut Store,
    id: SessionId,
    settled_below: u64,
    used_at_ms: u64,
) -> Result<InSession, RestoreError> {
    require((1..=store.sessions.opened()).contains(&id.0), "a session was never opened")?;
    require(store.insert_session(id, settled_below, used_at_ms), "a session's id is not unique")?;
    Ok(InSession { session: id, sequence: 0, settled_below })
}

fn add_answer(
    store: &mut Store,
    session: Option<InSession>,
    sequence: u64,
    answer: Response,
) -> Result<(), RestoreError> {
    let session = session.ok_or_else(|| damaged("an answer is in no session"))?;
    require(sequence >= session.settled_below, "a session remembers an answer that is settled")?;
    require(!store.has_answered(session.session, sequence), "a command has two answers")?;
    store.remember(InSession { sequence, ..session }, answer);
    Ok(())
}

fn add_base(store: &mut Store, version: &Version<'_>) -> Result<(), RestoreError> {
    check_version(store, version)?;
    require(!version.is_tombstone(), "a deletion is older than history")?;
    require(version.mod_revision <= store.compacted, "a version older than history is not compacted")?;
    let inserted = store.insert_base((*version).into());
    inserted.map_err(|OutOfOrder| damaged("a key has two versions older than history"))
}

fn add_change(store: &mut Store, version: &Version<'_>) -> Result<(), RestoreError> {
    check_version(store, version)?;
    let newest = store.history.newest().map(StoredVersion::mod_revision);
    require(newest.is_none_or(|newest| newest <= version.mod_revision), "history is out of order")?;
    let inserted = store.insert_change((*version).into());
    inserted.map_err(|OutOfOrder| damaged("a key's changes are out of order"))
}

fn check_version(store: &Store, version: &Version<'_>) -> Result<(), RestoreError> {
    require(
        version.mod_revision.0 > 1 && version.mod_revision <= store.revision,
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

fn attach_keys_to_leases(store: &mut Store) -> Result<(), RestoreError> {
    let Store { keys, leases, .. } = store;
    for version in keys.values().map(|versions| versions.newest().parts()) {
        if let Some(lease) = version.lease {
            require(leases.get(lease).is_some(), "a key is attached to a lease that is missing")?;
            leases.attach(lease, version.key);
        }
    }
    Ok(())
}

fn checked(store: Store, expected_hash: u128) -> Result<Store, RestoreError> {
    let hash = store.state_hash();
    if hash != expected_hash {
        return Err(damaged(&format!("its contents hash to {hash:032x} instead of {expected_hash:032x}")));
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
