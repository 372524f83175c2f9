//! How storage fails.

use std::io;

/// Why something could not be stored or read back.
///
/// After any error from a write or a sync the node must stop: what reached the disk is unknown, and a
/// retried `fsync` can report success for pages that were dropped.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("{action} {file}: {source}")]
    Io {
        /// What was done, as in `writing` or `syncing`.
        action: &'static str,
        /// The file, relative to the data directory.
        file: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// What was read back is not what was written.
    #[error("{file} is damaged at byte {offset}: {what}; {advice}")]
    Corrupt {
        /// The file, relative to the data directory.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process uses the data directory.
    #[error("data directory {0} is in use by another process")]
    Locked(String),
    /// The directory belongs to another cluster or node, or was written by a newer version.
    #[error("{0}")]
    Mismatch(String),
}
