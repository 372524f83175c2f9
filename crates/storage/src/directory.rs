//! The data directory: the exclusive lock on it and the node's identity in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::{Buf, BufMut};
use rustix::fs::{FlockOperation, flock};
use ruvector_protocol::{GroupId, Incarnation, NodeId};

use crate::codec::Malformed;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::owner::Owner;

const IDENTITY_FILE: &str = "identity";
const IDENTITY_TEMPORARY: &str = "identity.tmp";
const LOCK_FILE: &str = "lock";

const MAGIC: [u8; 8] = *b"RUVECIDN";
/// The newest version. One without groups beside the metadata group is written as of the first, as older programs read it.
const FORMAT_VERSION: u32 = 2;
const FORMAT_VERSION_WITHOUT_GROUPS: u32 = 1;
/// Magic, version, and the number of bytes between this header and the checksum at the end.
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// An identity file that is larger is not one of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

const ADVICE: &str = "without it this node does not know who it is: remove its data directory and let it join \
    again, or put back an undamaged copy of this file";

/// Who this node is, which cluster it belongs to and where its peers were said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster's id, derived from its name and first members.
    pub cluster_id: u64,
    /// This node's name.
    pub node_name: String,
    /// This node's id.
    pub node_id: NodeId,
    /// All members, this node among them, by id.
    pub members: Vec<MemberAddress>,
    /// Which start of the node this is: 1 at first.
    pub incarnation: Incarnation,
    /// The cluster's groups beside the metadata group, of which all members are, by id.
    pub groups: Vec<GroupMembers>,
}

/// A group as the identity file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembers {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Those of the cluster's members that are members of it, by id.
    pub members: Vec<NodeId>,
}

/// A member as the identity file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
}

impl Identity {
    /// The node as the files of its data directory name it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { cluster_id: self.cluster_id, node: self.node_id }
    }

    /// Reads the identity, if there is one.
    ///
    /// # Errors
    /// If it can't be read or is damaged, or a newer version wrote it.
    pub fn read(disk: &dyn Disk) -> Result<Option<Self>, StorageError> {
        let file = match disk.open(IDENTITY_FILE, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("opening", IDENTITY_FILE)(error)),
        };
        let size = file.size().map_err(StorageError::io("reading", IDENTITY_FILE))?;
        if size > FILE_BYTES_MAX {
            return Err(corrupt(0, "it is far too large"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_at(&mut bytes, 0).map_err(StorageError::io("reading", IDENTITY_FILE))?;
        decode(&bytes).map(Some)
    }

    /// Writes the identity durably, replacing the one before.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let bytes = self.encode();
        let at = |action| StorageError::io(action, IDENTITY_TEMPORARY);
        let mut file = disk.open(IDENTITY_TEMPORARY, true).map_err(at("creating"))?;
        file.set_size(0).map_err(at("truncating"))?;
        file.write_at(&bytes, 0).map_err(at("writing"))?;
        file.sync().map_err(at("syncing"))?;
        disk.rename(IDENTITY_TEMPORARY, IDENTITY_FILE).map_err(at("renaming"))?;
        disk.sync_directory("").map_err(StorageError::io("syncing", "the data directory"))
    }

    fn encode(&self) -> Vec<u8> {
        let Self { cluster_name, cluster_id, node_name, node_id, members, incarnation, groups } = self;
        let mut body = Vec::new();
        put_text(&mut body, cluster_name);
        body.put_u64_le(*cluster_id);
        put_text(&mut body, node_name);
        body.put_u64_le(node_id.0);
        body.put_u64_le(incarnation.0);
        body.put_u32_le(length(members.len()));
        for MemberAddress { id, name, peer_address } in members {
            body.put_u64_le(id.0);
            put_text(&mut body, name);
            put_text(&mut body, peer_address);
        }
        let version = match groups.is_empty() {
            true => FORMAT_VERSION_WITHOUT_GROUPS,
            false => FORMAT_VERSION,
        };
        if version >= FORMAT_VERSION {
            put_groups(&mut body, groups);
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
        out.put_slice(&MAGIC);
        out.put_u32_le(version);
        out.put_u32_le(length(body.len()));
        out.put_slice(&body);
        out.put_u32_le(crc32c::crc32c(&out));
        out
    }
}

/// Checks that files can be made and removed where `probe` is, by doing that: a directory that refuses is to be noticed at
/// the start, and not when the first file is due there. Whatever a crash leaves of it is used by the next start.
///
/// # Errors
/// The system's refusal, with the directory.
pub(crate) fn check_writable(disk: &dyn Disk, directory: &str, probe: &str) -> Result<(), StorageError> {
    let refused = || StorageError::io("making files in", directory);
    disk.open(probe, true).map_err(refused())?;
    disk.remove(probe).map_err(refused())
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("an identity is far smaller than 4 GiB")
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32_le(length(text.len()));
    out.put_slice(text.as_bytes());
}

fn decode(bytes: &[u8]) -> Result<Identity, StorageError> {
    if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES || bytes[..8] != MAGIC {
        return Err(corrupt(0, "it does not begin as an identity does"));
    }
    let (checked, mut checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(checked) != checksum.get_u32_le() {
        return Err(corrupt(0, "its checksum is wrong"));
    }
    let mut rest = &checked[8..];
    let version = rest.get_u32_le();
    if !(FORMAT_VERSION_WITHOUT_GROUPS..=FORMAT_VERSION).contains(&version) {
        return Err(StorageError::format(IDENTITY_FILE, version, FORMAT_VERSION));
    }
    let body_bytes = rest.get_u32_le() as usize;
    if body_bytes != rest.len() {
        return Err(corrupt(12, "its length is wrong"));
    }
    decode_body(&mut rest, version).map_err(|Malformed(what)| corrupt(HEADER_BYTES as u64, what))
}

fn decode_body(input: &mut &[u8], version: u32) -> Result<Identity, Malformed> {
    let cluster_name = get_text(input)?;
    let cluster_id = input.try_get_u64_le()?;
    let node_name = get_text(input)?;
    let node_id = NodeId(input.try_get_u64_le()?);
    let incarnation = Incarnation(input.try_get_u64_le()?);
    let member_count = input.try_get_u32_le()?;
    let mut members = Vec::new();
    for _ in 0..member_count {
        let id = NodeId(input.try_get_u64_le()?);
        members.push(MemberAddress { id, name: get_text(input)?, peer_address: get_text(input)? });
    }
    let groups = if version >= FORMAT_VERSION { get_groups(input)? } else { Vec::new() };
    if !input.is_empty() {
        return Err(Malformed("it is longer than its contents"));
    }
    Ok(Identity { cluster_name, cluster_id, node_name, node_id, members, incarnation, groups })
}

fn put_groups(out: &mut Vec<u8>, groups: &[GroupMembers]) {
    out.put_u32_le(length(groups.len()));
    for GroupMembers { id, name, members } in groups {
        out.put_u64_le(id.0);
        put_text(out, name);
        out.put_u32_le(length(members.len()));
        members.iter().for_each(|member| out.put_u64_le(member.0));
    }
}

fn get_groups(input: &mut &[u8]) -> Result<Vec<GroupMembers>, Malformed> {
    let count = input.try_get_u32_le()?;
    let mut groups = Vec::new();
    for _ in 0..count {
        let id = GroupId(input.try_get_u64_le()?);
        let name = get_text(input)?;
        let member_count = input.try_get_u32_le()?;
        let mut members = Vec::new();
        for _ in 0..member_count {
            members.push(NodeId(input.try_get_u64_le()?));
        }
        groups.push(GroupMembers { id, name, members });
    }
    Ok(groups)
}

fn get_text(input: &mut &[u8]) -> Result<String, Malformed> {
    let bytes = input.try_get_u32_le()? as usize;
    let (text, rest) = input.split_at_checked(bytes).ok_or(Malformed("it ends too early"))?;
    *input = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Malformed("a name is not UTF-8"))
}

fn corrupt(offset: u64, what: &str) -> StorageError {
    StorageError::Corrupt { file: IDENTITY_FILE.to_owned(), offset, what: what.to_owned(), advice: ADVICE }
}

/// The exclusive use of a data directory, released when dropped or when the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    /// The lock is the open file's.
    file: File,
}

impl DirectoryLock {
    /// Makes the directory if need be and locks it (`flock`).
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process holds it.
    pub fn acquire(path: &Path) -> Result<Self, StorageError> {
        let shown = path.display().to_string();
        fs::create_dir_all(path).map_err(StorageError::io("creating", &shown))?;
        sync_parent(path).map_err(StorageError::io("syncing the parent of", &shown))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(StorageError::io("opening the lock file of", &shown))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::Locked(shown)),
            Err(error) => Err(StorageError::io("locking", &shown)(error.into())),
        }
    }
}

impl Drop for DirectoryLock {
    /// Unlocks, and not by closing alone: a child that another thread of this process just forked has the open file,
    /// too, until it runs its program, and would hold the lock that long.
    fn drop(&mut self) {
        // If this fails, closing the file still releases the lock, if not as soon.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Makes the directory's own name durable. A parent that may not be opened is somebody else's to sync.
fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.canonicalize()?.parent().map(Path::to_owned) else { return Ok(()) };
    match File::open(parent) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::DirectoryLock;

    #[test]
    fn a_dropped_lock_is_free_though_a_child_still_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(directory.path()).unwrap();
        // What a child has between its fork and its exec: another descriptor of the same open file.
        let _of_child = lock.file.try_clone().unwrap();
        drop(lock);
        DirectoryLock::acquire(directory.path()).unwrap();
    }
}
