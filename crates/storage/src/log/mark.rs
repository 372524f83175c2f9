//! How far the log had come, remembered outside of it. docs/DISK_FORMAT.md, "The mark".
//!
//! A log that was cut, zeroed from some byte on, or replaced by an older one looks as one does that never went further. The
//! mark tells. It is written after every sync of the log, and only then: so what it names was durable before it was. It is
//! itself made durable only now and then, which costs next to nothing; a mark that is older than the log says less, and
//! nothing false.

use std::io;

use bytes::{Buf, BufMut};

use super::advice::FOREIGN_ADVICE;
use super::batch::Tail;
use super::names::segment_name;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::owner::Owner;

/// The file, in the data directory and not in the log's, which somebody may replace.
pub(crate) const FILE: &str = "log-mark";

/// Bytes of the file. They lie in one sector, so that a crash leaves the mark before or this one.
const MARK_BYTES: usize = 64;
const CHECKED_BYTES: usize = MARK_BYTES - 4;

const MAGIC: [u8; 8] = *b"RUVECMRK";
const FORMAT_VERSION: u32 = 1;

const ADVICE: &str = "others may count on what is missing, so this node must not go on from here: put the newer log back, \
    or remove this node's data directory and let it join again and catch up from its peers";

/// What the log held for certain at some moment: all batches before `tail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) tail: Tail,
    /// The segment in which the last of them is,
    pub(crate) segment: u64,
    /// and where in it they end.
    pub(crate) end: u64,
}

impl Mark {
    /// Reads the mark, if there is one. A damaged one is as good as none: it is not the log.
    ///
    /// # Errors
    /// If it is another node's, another version's, or can't be read.
    pub(crate) fn read(disk: &dyn Disk, owner: Owner) -> Result<Option<Self>, StorageError> {
        let file = match disk.open(FILE, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("opening", FILE)(error)),
        };
        let mut bytes = [0; MARK_BYTES];
        match file.read_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bytes.fill(0),
            Err(error) => return Err(StorageError::io("reading", FILE)(error)),
        }
        Self::decode(&bytes, owner)
    }

    fn decode(bytes: &[u8; MARK_BYTES], owner: Owner) -> Result<Option<Self>, StorageError> {
        let mut checksum = &bytes[CHECKED_BYTES..];
        if bytes[..8] != MAGIC || checksum.get_u32_le() != crc32c::crc32c(&bytes[..CHECKED_BYTES]) {
            tracing::warn!(file = FILE, "it is damaged or was never finished: the log is taken as it is");
            return Ok(None);
        }
        let mut rest = &bytes[8..];
        let version = rest.get_u32_le();
        if version != FORMAT_VERSION {
            return Err(StorageError::format(FILE, version, FORMAT_VERSION));
        }
        let chain = rest.get_u32_le();
        let next_sequence = rest.get_u64_le();
        let segment = rest.get_u64_le();
        let end = rest.get_u64_le();
        let found = Owner::decode(&mut rest).unwrap_or(owner);
        owner.check(found, FILE, FOREIGN_ADVICE)?;
        Ok(Some(Self { tail: Tail { next_sequence, chain }, segment, end }))
    }

    fn encode(&self, owner: Owner) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(self.tail.chain);
        out.put_u64_le(self.tail.next_sequence);
        out.put_u64_le(self.segment);
        out.put_u64_le(self.end);
        out.put_slice(&owner.encode());
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Where the log has come to this mark's batches, they must be the same ones.
    ///
    /// # Errors
    /// [`StorageError::RolledBack`] if the log went another way.
    pub(crate) fn check_passed(self, tail: Tail, file: &str) -> Result<(), StorageError> {
        if tail.next_sequence == self.tail.next_sequence && tail.chain != self.tail.chain {
            let batch = tail.next_sequence.saturating_sub(1);
            return Err(lost(file, format!("batch {batch} is another one than was there")));
        }
        Ok(())
    }

    /// A log that ends with `tail`, at `end` of `file`, must have come to the mark.
    ///
    /// # Errors
    /// [`StorageError::RolledBack`] if it ends before.
    pub(crate) fn check_reached(self, tail: Tail, file: &str, end: u64) -> Result<(), StorageError> {
        if tail.next_sequence >= self.tail.next_sequence {
            return Ok(());
        }
        let missing = match self.tail.next_sequence - 1 {
            last if last == tail.next_sequence => format!("batch {last}"),
            last => format!("batches {} to {last}", tail.next_sequence),
        };
        let what = format!(
            "it ends at byte {end}, and {missing} is missing, up to byte {} of {}; the log was cut or damaged at its end, \
             or replaced by an older copy",
            self.end,
            segment_name(self.segment)
        );
        Err(lost(file, what))
    }
}

fn lost(file: &str, what: String) -> StorageError {
    StorageError::RolledBack { file: file.to_owned(), what: format!("{what} (says {FILE})"), advice: ADVICE }
}

/// The file that the mark is written to.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: Box<dyn DiskFile>,
    owner: Owner,
}

impl MarkFile {
    /// Opens or makes the file, and makes a first mark in it durable.
    pub(crate) fn begin(disk: &dyn Disk, owner: Owner, mark: Mark) -> Result<Self, StorageError> {
        let file = disk.open(FILE, true).map_err(StorageError::io("creating", FILE))?;
        let mut mark_file = Self { file, owner };
        mark_file.write(mark)?;
        mark_file.sync()?;
        disk.sync_directory("").map_err(StorageError::io("syncing", "the data directory"))?;
        Ok(mark_file)
    }

    /// Replaces the mark by one of what is durable in the log by now. Goes no further than the operating system, which
    /// makes it durable in its own time.
    pub(crate) fn write(&mut self, mark: Mark) -> Result<(), StorageError> {
        self.file.write_at(&mark.encode(self.owner), 0).map_err(StorageError::io("writing", FILE))
    }

    /// Makes the mark durable.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(StorageError::io("syncing", FILE))
    }
}
