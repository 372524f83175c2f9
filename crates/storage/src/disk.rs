//! The few things that storage asks of a disk. Names are relative to the node's data directory, with `/`.

use std::fmt::Debug;
use std::io;

mod closer;
pub(crate) mod real;
pub mod simulated;

/// The unit in which appends reach a disk, in bytes: what direct writes must be aligned to nearly everywhere, and a page.
pub const BLOCK_BYTES: usize = 4096;

/// A directory tree on a disk.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing; with `create`, makes it if it does not exist.
    ///
    /// # Errors
    /// As the operating system has it; `NotFound` without `create`.
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>>;
    /// The names of the files and directories directly in a directory, sorted; none if it does not exist.
    ///
    /// # Errors
    /// As the operating system has it.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Makes a directory if it does not exist, and its parents. Durable after the parent's
    /// [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// As the operating system has it.
    fn create_directory(&self, name: &str) -> io::Result<()>;
    /// Renames a file within its directory, replacing the target. Durable after
    /// [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// As the operating system has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Its name is gone at once; what it held may be cut off bit by bit, also for those who have it open.
    ///
    /// # Errors
    /// As the operating system has it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable. The data directory itself is `""`.
    ///
    /// # Errors
    /// As the operating system has it. Never retried: see [`StorageError`](crate::StorageError).
    fn sync_directory(&self, name: &str) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Debug {
    /// Reads exactly `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; else as the operating system has it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file if need be.
    ///
    /// # Errors
    /// As the operating system has it.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, and so many zeros behind them, growing the file if need be. What stands behind
    /// those, up to the end of their block of [`BLOCK_BYTES`], may become zeros too, and the file so much larger.
    ///
    /// For logs, behind whose end nothing matters: so a disk can write whole blocks past the operating system's page
    /// cache, which costs much less than to go through it. The bytes in front of `offset` in its block are written once more as
    /// they are. So those that were durable stay so however a crash tears the write, on a disk that writes sectors whole.
    ///
    /// # Errors
    /// As the operating system has it. Never retried: what is there from `offset` on is in an unknown state.
    fn append_at(&mut self, bytes: &[u8], zeros: usize, offset: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// As the operating system has it. Never retried: what was written before is in an unknown state.
    fn sync(&mut self) -> io::Result<()>;
    /// The file's size in bytes.
    ///
    /// # Errors
    /// As the operating system has it.
    fn size(&self) -> io::Result<u64>;
    /// Cuts or grows the file; new bytes read as zeros.
    ///
    /// # Errors
    /// As the operating system has it.
    fn set_size(&mut self, bytes: u64) -> io::Result<()>;
}
