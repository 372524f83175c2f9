//! Receiving a peer's snapshot file.

use std::io;

use super::format::{FOREIGN_ADVICE, Header, corrupt};
use super::info::{SnapshotInfo, info_of};
use super::name;
use super::reader::SnapshotReader;
use super::unfinished::TemporaryFile;
use crate::error::StorageError;
use crate::owner::Owner;

/// Receives a peer's snapshot file, piece by piece and in order. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotReceiver {
    file: TemporaryFile,
    /// The header that the file is to have here.
    announced: Header,
    total_bytes: u64,
}

impl SnapshotReceiver {
    pub(super) fn begin(file: TemporaryFile, announced: Header, total_bytes: u64) -> Self {
        Self { file, announced, total_bytes }
    }

    /// The next byte wanted.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.file.written
    }

    /// Takes the piece at [`next_offset`](Self::next_offset).
    ///
    /// # Errors
    /// If the disk refuses, or more arrives than was announced.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StorageError> {
        if data.len() as u64 > self.total_bytes - self.file.written {
            let what = format!("more arrived than the announced {} bytes", self.total_bytes);
            let source = io::Error::new(io::ErrorKind::InvalidData, what);
            return Err(StorageError::io("receiving", &self.file.path)(source));
        }
        self.file.append(data)
    }

    /// Verifies the whole file against its checksums and its announced meta, makes it this node's own and durable, and
    /// gives it its automatic name, replacing a file of that name.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it fails verification, [`StorageError::Foreign`] if it is of another cluster (the
    /// temporary file is then removed: the transfer may start again); else if the disk refuses.
    pub fn finish(self) -> Result<SnapshotInfo, StorageError> {
        let Self { mut file, announced, total_bytes } = self;
        let path = file.path.clone();
        if file.written != total_bytes {
            let what = format!("{} of {total_bytes} bytes arrived", file.written);
            return Err(corrupt(&path, file.written, &what));
        }
        let name = name::automatic(announced.group, &announced.meta);
        let (sent, info) = info_of(&*file.file, &path, &name)?;
        // Any node of this cluster may have sent it.
        let sender = Owner { node: announced.owner.node, ..sent.owner };
        announced.owner.check(sender, &path, FOREIGN_ADVICE)?;
        if info.group != announced.group || info.meta != announced.meta {
            return Err(corrupt(&path, 0, "it is not the snapshot that was announced"));
        }
        SnapshotReader::begin(file.open_again()?, &path, info)?.verify()?;
        file.replace_header(&announced)?;
        file.publish(&name)
    }
}
