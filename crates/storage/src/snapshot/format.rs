//! The parts of a snapshot file. docs/DISK_FORMAT.md, "Snapshots".

use bytes::{Buf, BufMut};
use ruvector_protocol::{GroupId, NodeId, SnapshotMeta};

use crate::codec::{self, Malformed};
use crate::disk::DiskFile;
use crate::error::StorageError;
use crate::owner::Owner;

/// Contents of a chunk, at most; every chunk but the last has this many.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a chunk in front of its contents.
pub(super) const CHUNK_HEADER_BYTES: usize = 8;

/// Bytes of a trailer.
pub(super) const TRAILER_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"RUVECSNP";
const FORMAT_VERSION: u32 = 2;
/// Magic, version and the length of what follows.
const HEADER_FIXED_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// The first link of the chain, which is the checksum of what is before it.
const CHAIN_BYTES: usize = 4;
/// The node and the checksum over it.
const NODE_BYTES: usize = 8 + CHECKSUM_BYTES;
/// A header with half a million voters is not one of ours.
const HEADER_BYTES_MAX: usize = 4 << 20;

pub(super) const ADVICE: &str = "remove this snapshot; the node makes a new one or gets one from its peers";

/// What to do about the snapshot of another node.
pub(super) const FOREIGN_ADVICE: &str = "take it out of this data directory, where only this node's own snapshots belong: \
    `snapshot --restore` takes any node's from that node's own directory";

/// A snapshot file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose file it is. The node can be exchanged, and the rest of the file stays as it is: a snapshot is the same
    /// whichever node of a cluster has it.
    pub(super) owner: Owner,
    pub(super) group: GroupId,
    pub(super) meta: SnapshotMeta,
}

/// What stands behind the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) chunk_count: u32,
    pub(super) contents_bytes: u64,
    /// The last chunk's checksum; each one covers those before it.
    pub(super) chain: u32,
}

impl Header {
    /// The bytes of the header, and the first link of the chain that the chunks continue.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let Owner { cluster_id, node } = self.owner;
        let mut out = Vec::new();
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        let body_bytes = 8 + 8 + codec::meta_bytes(&self.meta);
        out.put_u32_le(u32::try_from(body_bytes).expect("a membership is small"));
        out.put_u64_le(cluster_id);
        out.put_u64_le(self.group.0);
        codec::put_meta(&mut out, &self.meta);
        let chain = crc32c::crc32c(&out);
        out.put_u32_le(chain);
        out.put_u64_le(node.0);
        out.put_u32_le(node_checksum(chain, node));
        (out, chain)
    }

    /// Reads the header of a file, whosever it is; returns it, its size and the first link of the chain.
    pub(super) fn read(file: &dyn DiskFile, name: &str, size: u64) -> Result<(Self, u64, u32), StorageError> {
        let mut fixed = [0; HEADER_FIXED_BYTES];
        if size < fixed.len() as u64 {
            return Err(corrupt(name, 0, "it is shorter than a header"));
        }
        read(file, name, &mut fixed, 0)?;
        if fixed[..8] != MAGIC {
            return Err(corrupt(name, 0, "it does not begin as a snapshot does"));
        }
        let mut rest = &fixed[8..];
        let version = rest.get_u32_le();
        let body_bytes = rest.get_u32_le() as usize;
        let header_bytes = (HEADER_FIXED_BYTES + CHAIN_BYTES + NODE_BYTES).saturating_add(body_bytes);
        if header_bytes > HEADER_BYTES_MAX || header_bytes as u64 > size {
            return Err(corrupt(name, 12, "the header's length is wrong"));
        }
        let mut bytes = vec![0; header_bytes];
        read(file, name, &mut bytes, 0)?;
        let (checked, mut end) = bytes.split_at(header_bytes - CHAIN_BYTES - NODE_BYTES);
        let (chain, node) = (end.get_u32_le(), NodeId(end.get_u64_le()));
        if crc32c::crc32c(checked) != chain || node_checksum(chain, node) != end.get_u32_le() {
            return Err(corrupt(name, 0, "the header's checksum is wrong"));
        }
        if version != FORMAT_VERSION {
            return Err(StorageError::format(name, version, FORMAT_VERSION));
        }
        let header = Self::decode_body(&mut &checked[HEADER_FIXED_BYTES..], node)
            .map_err(|Malformed(what)| corrupt(name, HEADER_FIXED_BYTES as u64, what))?;
        Ok((header, header_bytes as u64, chain))
    }

    fn decode_body(body: &mut &[u8], node: NodeId) -> Result<Self, Malformed> {
        let cluster_id = body.try_get_u64_le()?;
        let group = GroupId(body.try_get_u64_le()?);
        let meta = codec::get_meta(body)?;
        if !body.is_empty() {
            return Err(Malformed("the header is longer than its contents"));
        }
        Ok(Self { owner: Owner { cluster_id, node }, group, meta })
    }
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        // The first four bytes stay 0: no chunk is that short, so they end the chunks.
        let mut out = &mut bytes[4..];
        out.put_u32_le(self.chunk_count);
        out.put_u64_le(self.contents_bytes);
        out.put_u32_le(self.chain);
        let checksum = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the trailer from the end of a file and checks that the file has the size it speaks of.
    pub(super) fn read(
        file: &dyn DiskFile,
        name: &str,
        size: u64,
        header_bytes: u64,
    ) -> Result<Self, StorageError> {
        let start = size.checked_sub(TRAILER_BYTES as u64).filter(|start| *start >= header_bytes);
        let start = start.ok_or_else(|| corrupt(name, size, "it ends before its trailer"))?;
        let mut bytes = [0; TRAILER_BYTES];
        read(file, name, &mut bytes, start)?;
        let mut rest = &bytes[..];
        let mark = rest.get_u32_le();
        let chunk_count = rest.get_u32_le();
        let contents_bytes = rest.get_u64_le();
        let chain = rest.get_u32_le();
        if rest.get_u32_le() != crc32c::crc32c(&bytes[..20]) || mark != 0 {
            return Err(corrupt(name, start, "its trailer is missing or damaged"));
        }
        let chunks = u64::from(chunk_count) * CHUNK_HEADER_BYTES as u64;
        if contents_bytes.checked_add(chunks + header_bytes) != Some(start) {
            return Err(corrupt(name, start, "its size is not the one that its trailer tells"));
        }
        Ok(Self { chunk_count, contents_bytes, chain })
    }
}

fn node_checksum(chain: u32, node: NodeId) -> u32 {
    crc32c::crc32c_append(chain, &node.0.to_le_bytes())
}

/// A chunk's checksum: it covers the header and all chunks before by their checksum.
pub(super) fn chunk_checksum(previous: u32, contents: &[u8]) -> u32 {
    let seeded = crc32c::crc32c_append(previous, &(contents.len() as u64).to_le_bytes());
    crc32c::crc32c_append(seeded, contents)
}

pub(super) fn read(
    file: &dyn DiskFile,
    name: &str,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), StorageError> {
    file.read_at(buffer, offset).map_err(StorageError::io("reading", name))
}

pub(super) fn corrupt(name: &str, offset: u64, what: &str) -> StorageError {
    StorageError::Corrupt { file: name.to_owned(), offset, what: what.to_owned(), advice: ADVICE }
}
