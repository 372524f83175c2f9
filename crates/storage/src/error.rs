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
    /// A whole file that is another node's, or another cluster's.
    #[error("{file} belongs to {whose}; {advice}")]
    Foreign {
        /// The file, relative to the data directory.
        file: String,
        /// To whom it belongs, and who this is.
        whose: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The log does not hold what once was durable in it.
    #[error("{file} has lost what was durable: {what}; {advice}")]
    RolledBack {
        /// The file in which it ends, relative to the data directory.
        file: String,
        /// What is missing.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process uses the data directory.
    #[error("data directory {0} is in use by another process")]
    Locked(String),
    /// The directory belongs to another cluster or node, or was written by another version.
    #[error("{0}")]
    Mismatch(String),
}

impl StorageError {
    /// Wraps an error of the operating system, as in `.map_err(StorageError::io("writing", name))`.
    pub(crate) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { action, file, source }
    }

    /// A file in a format that this version does not know.
    pub(crate) fn format(file: &str, found: u32, known: u32) -> Self {
        let writer = if found > known { "a newer" } else { "an older" };
        Self::Mismatch(format!(
            "{file} has format {found}, this version knows {known}: {writer} version wrote it"
        ))
    }

    /// Whether the disk is full: nothing acknowledged is lost, and the node can be started again once there
    /// is space.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Corrupt { .. }
            | Self::Foreign { .. }
            | Self::RolledBack { .. }
            | Self::Locked(_)
            | Self::Mismatch(_) => false,
        }
    }
}
