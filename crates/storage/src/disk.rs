//! The few things that storage asks of a disk. Names are relative to the node's data directory, with `/`.

use std::fmt::Debug;
use std::io;

mod closer;
mod real;
pub mod simulated;

pub use real::RealDisk;

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
