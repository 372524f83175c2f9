//! Appends that go past the page cache (`O_DIRECT`), where the file system can.
//!
//! A write into the page cache is copied into pages that the system first has to find, and a sync then collects them again. Of
//! what is appended to a log nobody reads anything soon, so all of that is in vain. And if the disk fails, it is the write
//! itself that is told so, and not whichever sync comes next.
//!
//! Only whole blocks can be written directly. An append begins at the start of the block that its first byte is in, with the
//! bytes that are there already, and ends at the end of a block, with zeros. What is in front of it may be durable, and is written
//! once more. That takes nothing away: each of its sectors is written as it is, and a disk writes a sector whole or not at all, so
//! it holds the same bytes whether the power fails before, while or after it is written. (The page cache does no other: it writes
//! whole pages.) What is behind it belongs to nobody: that is the rule of [`DiskFile::append_at`](crate::DiskFile::append_at).
//!
//! Everything else goes through the page cache as ever, and Linux keeps the two together. Before a direct write it writes out
//! the changed pages of its range and drops them, and after it drops what was read into the cache meanwhile: whoever reads then
//! finds what was written. Changed pages where appends go would cost that writing-out each time; so a log writes by appends only.
//!
//! A sync is needed as before: for the disk's own cache, and for the file's size and blocks.

use std::fs::File;
#[cfg(target_os = "linux")]
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
#[cfg(target_os = "linux")]
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::BLOCK_BYTES;

/// The most that is written at once, and so the most that is kept in memory for it. Rarely is there more to be written: a batch
/// and the zeros ahead of it.
const PIECE_BYTES_MAX: usize = 2 << 20;

/// What the files of a disk share for their direct writes.
#[derive(Debug, Default)]
pub(super) struct DirectWrites {
    /// The file system refused once, and is not asked again.
    are_refused: AtomicBool,
    /// Where writes are put together.
    buffer: Mutex<AlignedBuffer>,
}

/// A file that is appended to by direct writes.
#[derive(Debug)]
pub(super) struct DirectFile {
    shared: Arc<DirectWrites>,
    /// Opened with `O_DIRECT`, and only ever written to.
    file: File,
    /// Whether a direct write has succeeded.
    is_proven: bool,
    last: LastBlock,
}

/// The block in which the last append ended: the next one writes it once more.
#[derive(Debug)]
struct LastBlock {
    /// Where in the file it begins; `None` if it is not known what it holds.
    start: Option<u64>,
    bytes: Box<[u8; BLOCK_BYTES]>,
}

impl DirectWrites {
    /// Opens a file for direct writes that was opened as usual by the name `path`. Where it can't be, says so once and
    /// gives nothing.
    pub(super) fn open(self: &Arc<Self>, path: &Path, ordinary: &File) -> Option<DirectFile> {
        if self.are_refused.load(Ordering::Relaxed) {
            return None;
        }
        match open_direct(path, ordinary) {
            Ok(file) => Some(DirectFile::new(Arc::clone(self), file)),
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    fn refuse(&self, error: &io::Error) {
        if !self.are_refused.swap(true, Ordering::Relaxed) {
            tracing::info!("the log is written through the page cache: no direct writes here: {error}");
        }
    }

    fn buffer(&self) -> MutexGuard<'_, AlignedBuffer> {
        // What it holds matters to nobody between two writes.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path, ordinary: &File) -> io::Result<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let (found, wanted) = (file.metadata()?, ordinary.metadata()?);
    if (found.dev(), found.ino()) != (wanted.dev(), wanted.ino()) {
        return Err(io::Error::other(format!("{} is another file by now", path.display())));
    }
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path, _: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

impl DirectFile {
    fn new(shared: Arc<DirectWrites>, file: File) -> Self {
        let last = LastBlock { start: None, bytes: Box::new([0; BLOCK_BYTES]) };
        Self { shared, file, is_proven: false, last }
    }

    /// Something else than an append changes the file.
    pub(super) fn forget_last_block(&mut self) {
        self.last.start = None;
    }

    /// As [`DiskFile::append_at`](crate::DiskFile::append_at); `ordinary` is the same file opened as usual. Returns false,
    /// and has written nothing, if the file system takes no direct writes after all.
    pub(super) fn append(
        &mut self,
        ordinary: &File,
        bytes: &[u8],
        zeros: usize,
        offset: u64,
    ) -> io::Result<bool> {
        if bytes.is_empty() && zeros == 0 {
            return Ok(true);
        }
        let in_block = in_block(offset);
        let start = offset - in_block as u64;
        // Taken: if this fails it is not known what is there.
        let is_known = self.last.start.take() == Some(start);
        if in_block > 0 && !is_known {
            read_block(ordinary, &mut *self.last.bytes, start)?;
        }
        let append = Append { before: &self.last.bytes[..in_block], bytes, zeros };
        let written = append.write(&self.file, &mut self.shared.buffer(), start, &mut self.is_proven);
        if let Err(error) = written {
            let is_refusal = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
            if self.is_proven || !is_refusal {
                return Err(error);
            }
            self.shared.refuse(&error);
            return Ok(false);
        }
        self.last.keep(bytes, offset);
        Ok(true)
    }
}

impl LastBlock {
    /// Becomes the block in which `bytes` end that were appended at `offset`, with zeros behind them. Holds the block in
    /// which they begin.
    fn keep(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        let end_in_block = in_block(end);
        let start = end - end_in_block as u64;
        let kept = if start < offset { in_block(offset) } else { 0 };
        self.bytes[kept..end_in_block].copy_from_slice(&bytes[bytes.len() - (end_in_block - kept)..]);
        self.bytes[end_in_block..].fill(0);
        // Of a block that begins where they end nothing was written, perhaps, and nothing is needed.
        self.start = (end_in_block > 0).then_some(start);
    }
}

/// What is written for an append.
struct Append<'a> {
    /// What stands before the bytes in the block in which they begin.
    before: &'a [u8],
    bytes: &'a [u8],
    /// How many zeros stand behind them at least.
    zeros: usize,
}

impl Append<'_> {
    /// Writes it from `start` on, piece by piece, and notes the first success.
    fn write(
        &self,
        file: &File,
        buffer: &mut AlignedBuffer,
        start: u64,
        is_proven: &mut bool,
    ) -> io::Result<()> {
        let total = (self.before.len() + self.bytes.len() + self.zeros).next_multiple_of(BLOCK_BYTES);
        let mut done = 0;
        while done < total {
            let piece = buffer.get((total - done).min(PIECE_BYTES_MAX));
            self.copy_to(piece, done);
            write_blocks(file, piece, start + done as u64)?;
            *is_proven = true;
            done += piece.len();
        }
        Ok(())
    }

    /// Copies what begins so far behind its start: bytes as long as there are any, and then zeros.
    fn copy_to(&self, piece: &mut [u8], from: usize) {
        let (mut skipped, mut done) = (from, 0);
        for part in [self.before, self.bytes] {
            let rest = part.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(part.len());
            let count = rest.len().min(piece.len() - done);
            piece[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        piece[done..].fill(0);
    }
}

/// Writes whole blocks, of which the system may take fewer at a time.
fn write_blocks(file: &impl FileExt, mut blocks: &[u8], mut offset: u64) -> io::Result<()> {
    while !blocks.is_empty() {
        let written = match file.write_at(blocks, offset) {
            Ok(written) => written - written % BLOCK_BYTES,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if written == 0 {
            return Err(io::Error::new(ErrorKind::WriteZero, "less than a block was written"));
        }
        blocks = &blocks[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Reads the block at `start`, with zeros behind the end of the file.
fn read_block(file: &impl FileExt, block: &mut [u8], start: u64) -> io::Result<()> {
    let mut done = 0;
    while done < block.len() {
        match file.read_at(&mut block[done..], start + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block[done..].fill(0);
    Ok(())
}

/// How far behind the start of its block a place is.
fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_BYTES as u64).expect("a block fits memory")
}

/// Memory that begins at a multiple of [`BLOCK_BYTES`], as direct writes want it.
#[derive(Debug, Default)]
struct AlignedBuffer {
    /// By a block larger than what is used of it.
    memory: Vec<u8>,
}

impl AlignedBuffer {
    /// So many bytes, which may hold anything.
    fn get(&mut self, bytes: usize) -> &mut [u8] {
        if self.memory.len() < bytes + BLOCK_BYTES {
            self.memory = vec![0; bytes.next_power_of_two() + BLOCK_BYTES];
        }
        let start = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        &mut self.memory[start..start + bytes]
    }
}

// Without Linux there are no direct writes.
#[cfg(all(test, target_os = "linux"))]
mod tests;
