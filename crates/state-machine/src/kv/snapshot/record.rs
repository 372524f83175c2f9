//! The records of a snapshot and their framing.

use std::io::{self, BufReader, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use super::super::command::{LeaseId, Response, Revision};
use super::super::session::SessionId;
use super::super::stored::Version;
use crate::machine::RestoreError;

const MAGIC: [u8; 8] = *b"rvkvsnap";
const FORMAT_VERSION: u32 = 2;
const BUFFER_BYTES: usize = 64 * 1024;
/// The longest record body. A command of that size never gets into a log.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// A record; they come in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record<'bytes> {
    /// The counters.
    Header {
        revision: Revision,
        compacted: Revision,
        time_ms: u64,
        history_first_sequence: u64,
        sessions_opened: u64,
    },
    /// A lease.
    Lease { id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64 },
    /// A session; the answers that it remembers follow.
    Session { id: SessionId, settled_below: u64, used_at_ms: u64 },
    /// An answer that the session before it remembers.
    Answer { sequence: u64, answer: Response },
    /// A key's version that is older than history.
    Base(#[serde(borrow)] Version<'bytes>),
    /// A change of history.
    Change(#[serde(borrow)] Version<'bytes>),
    /// All is said: how many records came before this one, and the state hash.
    End { records: u64, state_hash: u128 },
}

impl Record<'_> {
    /// The lease of the version that it is.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Base(version) | Self::Change(version) => version.lease,
            Self::Header { .. }
            | Self::Lease { .. }
            | Self::Session { .. }
            | Self::Answer { .. }
            | Self::End { .. } => None,
        }
    }
}

/// Writes records; [`finish`](Self::finish) ends the snapshot.
pub(super) struct RecordWriter<'writer> {
    writer: BufWriter<&'writer mut dyn Write>,
    body: Vec<u8>,
    /// How many were written, the end record not counted.
    pub(super) records: u64,
}

impl<'writer> RecordWriter<'writer> {
    /// Writes what stands before the records.
    pub(super) fn start(writer: &'writer mut dyn Write) -> io::Result<Self> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
        writer.write_all(&MAGIC)?;
        writer.write_all(&FORMAT_VERSION.to_le_bytes())?;
        Ok(Self { writer, body: Vec::new(), records: 0 })
    }

    /// Writes one record.
    pub(super) fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.body.clear();
        self.body = postcard::to_extend(record, std::mem::take(&mut self.body)).map_err(io::Error::other)?;
        let length = u32::try_from(self.body.len()).ok().filter(|_| self.body.len() <= RECORD_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("a record is too long for a snapshot"))?;
        self.records += 1;
        self.writer.write_all(&length.to_le_bytes())?;
        self.writer.write_all(&self.body)
    }

    /// Writes the end record and everything that is still in the buffer.
    pub(super) fn finish(mut self, state_hash: u128) -> io::Result<()> {
        self.write(&Record::End { records: self.records, state_hash })?;
        self.writer.flush()
    }
}

/// Reads records.
pub(super) struct RecordReader<'reader> {
    reader: BufReader<&'reader mut dyn Read>,
    body: Vec<u8>,
    records: u64,
}

impl<'reader> RecordReader<'reader> {
    /// Reads what stands before the records.
    pub(super) fn start(reader: &'reader mut dyn Read) -> Result<Self, RestoreError> {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let mut this = Self { reader, body: Vec::new(), records: 0 };
        require(this.array()? == MAGIC, "it is no snapshot of this machine")?;
        let version = u32::from_le_bytes(this.array()?);
        require(version == FORMAT_VERSION, &format!("its format version {version} is not known"))?;
        Ok(this)
    }

    /// Reads one record.
    pub(super) fn next(&mut self) -> Result<Record<'_>, RestoreError> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        require(length <= RECORD_BYTES_MAX, "a record is too long")?;
        self.body.clear();
        // Memory grows with the bytes that really come, not with the length that was claimed.
        let read = (&mut self.reader).take(length as u64).read_to_end(&mut self.body)?;
        require(read == length, "it ends early")?;
        self.records += 1;
        match postcard::take_from_bytes(&self.body) {
            Ok((record, [])) => Ok(record),
            Ok(_) => Err(damaged("a record is longer than its contents")),
            Err(error) => Err(damaged(&format!("a record can't be decoded: {error}"))),
        }
    }

    /// After the end record, which says how many came before it.
    pub(super) fn expect_end(&mut self, records: u64) -> Result<(), RestoreError> {
        require(records + 1 == self.records, "records are missing")?;
        let read = self.reader.read(&mut [0])?;
        require(read == 0, "it goes on after its end")
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RestoreError> {
        let mut array = [0; LENGTH];
        match self.reader.read_exact(&mut array) {
            Ok(()) => Ok(array),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("it ends early")),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses the snapshot, unless the condition holds.
pub(super) fn require(condition: bool, otherwise: &str) -> Result<(), RestoreError> {
    if condition { Ok(()) } else { Err(damaged(otherwise)) }
}

/// The refusal of a snapshot.
pub(super) fn damaged(how: &str) -> RestoreError {
    RestoreError::Format(how.into())
}
