//! The records of a snapshot and their framing.

use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::command::{LeaseId, Response, Retention, Revision};
use super::super::retention::marks::Mark;
use super::super::session::facts::{SessionClient, SessionId};
use super::super::stored::Version;
use crate::machine::RestoreError;

const MAGIC: [u8; 8] = *b"rvkvsnap";
const FORMAT_VERSION: u32 = 4;
const WRITE_BUFFER_BYTES: usize = 64 << 10;
/// As much as files have in a chunk.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// The longest record body. A command of that size never gets into a log.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// A record; [`snapshot`](super) has the order in which they come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record<'bytes> {
    /// The counters.
    Header {
        revision: Revision,
        compacted: Revision,
        time_ms: u64,
        history_first_sequence: u64,
        stripped: u64,
        sessions_opened: u64,
    },
    /// A lease.
    Lease { id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64 },
    /// A session; the answers that it remembers follow.
    Session { id: SessionId, settled_below: u64, used_at_ms: u64, client: SessionClient },
    /// An answer that the session before it remembers.
    Answer { sequence: u64, answer: Response },
    /// A key's version that is older than history.
    Base(#[serde(borrow)] Version<'bytes>),
    /// A change of history.
    Change(#[serde(borrow)] Version<'bytes>),
    /// All is said: how many records came before this one, and the state hash.
    End { records: u64, state_hash: u128 },
    /// More counters, of history; they follow the first.
    History { written_bytes: u64, owed_record_quarters: u64, owed_bytes: u64, retention: Retention },
    /// What was written by when; behind the counters.
    Mark(Mark),
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
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer);
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

/// Reads records, and decodes them where they were read to.
pub(super) struct RecordReader<'reader> {
    reader: &'reader mut (dyn Read + Send),
    buffer: Vec<u8>,
    /// What of the buffer was read and not yet taken.
    unread: Range<usize>,
    records: u64,
}

impl<'reader> RecordReader<'reader> {
    /// Reads records from the beginning.
    pub(super) fn new(reader: &'reader mut (dyn Read + Send)) -> Self {
        Self { reader, buffer: vec![0; READ_BUFFER_BYTES], unread: 0..0, records: 0 }
    }

    /// Reads what stands before the records.
    pub(super) fn start(&mut self) -> Result<(), RestoreError> {
        require(self.array()? == MAGIC, "it is no snapshot of this machine")?;
        let version = u32::from_le_bytes(self.array()?);
        require(version == FORMAT_VERSION, &format!("its format version {version} is not known"))
    }

    /// Reads one record; returns the length of its body, too.
    pub(super) fn next(&mut self) -> Result<(Record<'_>, usize), RestoreError> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        require(length <= RECORD_BYTES_MAX, "a record is too long")?;
        self.records += 1;
        let body = self.take(length)?;
        match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok((record, length)),
            Ok(_) => Err(damaged("a record is longer than its contents")),
            Err(error) => Err(damaged(&format!("a record can't be decoded: {error}"))),
        }
    }

    /// After the end record, which says how many came before it.
    pub(super) fn expect_end(&mut self, records: u64) -> Result<(), RestoreError> {
        require(records + 1 == self.records, "records are missing")?;
        let goes_on = !self.unread.is_empty() || self.reader.read(&mut [0])? != 0;
        require(!goes_on, "it goes on after its end")
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RestoreError> {
        let bytes = self.take(LENGTH)?;
        Ok(bytes.try_into().expect("as many bytes were taken as the array has"))
    }

    fn take(&mut self, count: usize) -> Result<&[u8], RestoreError> {
        while self.unread.len() < count {
            self.read_more()?;
        }
        let start = self.unread.start;
        self.unread.start += count;
        Ok(&self.buffer[start..start + count])
    }

    /// Reads what comes next behind what is unread. The buffer grows when it is full of bytes that really came, not with
    /// a length that was claimed.
    fn read_more(&mut self) -> Result<(), RestoreError> {
        if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            if self.unread.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        match self.reader.read(&mut self.buffer[self.unread.end..]) {
            Ok(0) => return Err(damaged("it ends early")),
            Ok(count) => self.unread.end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
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
