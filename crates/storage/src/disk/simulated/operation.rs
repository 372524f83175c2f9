//! What is done to a simulated disk.

/// One operation that changed the disk or would have, for traces and for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file was made.
    Create(String),
    /// Bytes were written or appended.
    Write {
        /// The file, by the name it was opened with.
        file: String,
        /// Where.
        offset: u64,
        /// How many. What an append writes around them to fill blocks is not told.
        bytes: usize,
    },
    /// A file was cut or grown to a size.
    SetSize {
        /// The file, by the name it was opened with.
        file: String,
        /// Its new size.
        bytes: u64,
    },
    /// A file's writes were made durable.
    Sync(String),
    /// A directory was made.
    CreateDirectory(String),
    /// A file was renamed.
    Rename {
        /// Its name before.
        from: String,
        /// Its name after.
        to: String,
    },
    /// A file was removed.
    Remove(String),
    /// A directory's names were made durable.
    SyncDirectory(String),
}
