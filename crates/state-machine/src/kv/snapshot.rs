//! A version of the store as a stream of bytes.
//!
//! ```text
//! magic "rvkvsnap" · format version, u32 little-endian · records
//! record: length of its body, u32 little-endian · body, postcard of [`Record`]
//! order:  Header · History · Mark oldest first · Lease by id · Session by id, each with its Answers by number · Base by key · Change oldest first · End
//! ```
//! Everything is streamed: the writer holds one record beside the store itself, the reader a few [`SnapshotPart`]s. The format has no
//! checksum of its own, since files have one per chunk, but the end record carries the state hash, and a
//! reader that arrives at another one refuses the snapshot.

mod part;
mod rebuild;
mod record;

use std::io::{self, Write};

use super::session::facts::SessionFacts;
use super::store::Store;
use record::{Record, RecordWriter};

pub use part::SnapshotPart;
pub(super) use part::parts;
pub(super) use rebuild::rebuild;

/// Writes a store.
pub(super) fn write(store: &Store, writer: &mut dyn Write) -> io::Result<()> {
    let mut writer = RecordWriter::start(writer)?;
    writer.write(&Record::Header {
        revision: store.revision,
        compacted: store.compacted,
        time_ms: store.time_ms,
        history_first_sequence: store.history.first_sequence(),
        stripped: store.stripped,
        sessions_opened: store.sessions.opened(),
    })?;
    writer.write(&Record::History {
        written_bytes: store.history.written_bytes(),
        owed_record_quarters: store.owed.record_quarters,
        owed_bytes: store.owed.bytes,
        retention: store.retained.settings(),
    })?;
    for mark in store.retained.marks() {
        writer.write(&Record::Mark(*mark))?;
    }
    for (&id, lease) in store.leases.iter() {
        let (granted_ttl_seconds, expires_at_ms) = (lease.granted_ttl_seconds, lease.expires_at_ms);
        writer.write(&Record::Lease { id, granted_ttl_seconds, expires_at_ms })?;
    }
    for (id, session) in store.sessions.iter() {
        let SessionFacts { client, settled_below, used_at_ms } = session.facts;
        writer.write(&Record::Session { id, settled_below, used_at_ms, client })?;
        for (sequence, answer) in session.answers() {
            writer.write(&Record::Answer { sequence, answer: answer.clone() })?;
        }
    }
    for version in store.keys.values().filter_map(|versions| versions.base(&store.history)) {
        writer.write(&Record::Base(version.parts()))?;
    }
    for version in store.history.versions() {
        writer.write(&Record::Change(version.parts()))?;
    }
    writer.finish(store.state_hash())
}

#[cfg(test)]
mod tests;
