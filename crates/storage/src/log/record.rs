//! Log records: what they say and how they are written. docs/DISK_FORMAT.md, "Records".

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use ruvector_protocol::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, LogPosition, NodeId, Origin, Payload,
    Proposal, SnapshotMeta, Term,
};

use crate::codec::{self, Malformed};

/// Bytes of a record in front of its body.
pub(crate) const RECORD_HEADER_BYTES: usize = 17;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_RESET: u8 = 3;
const KIND_BASE: u8 = 4;
const KIND_CARRIED: u8 = 5;
const KIND_REMEMBERED: u8 = 6;

const PAYLOAD_NOOP: u8 = 0;
const PAYLOAD_TICK: u8 = 1;
const PAYLOAD_COMMAND: u8 = 2;

const ENTRY_FIXED_BYTES: usize = 25;
const ORIGIN_BYTES: usize = 32;

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record<'a> {
    /// An entry; it replaces everything from its index on.
    Entry(&'a Entry),
    /// The newest hard state.
    HardState(&'a HardState),
    /// All entries are dropped, the log goes on behind this snapshot.
    Reset(&'a SnapshotMeta),
    /// Entries up to and with this snapshot may be forgotten, those behind it stay.
    Base(&'a SnapshotMeta),
    /// All there is to know of a group but its entries, at the beginning of every segment.
    Carried(&'a Carried),
    /// How far each replica is known to have come; takes the place of what was said before.
    Remembered(&'a BTreeMap<NodeId, Index>),
}

/// A group's state but for the entries themselves, and for what is remembered of other replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) hard_state: HardState,
    pub(crate) last: LogPosition,
    pub(crate) base: SnapshotMeta,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Entry(Entry),
    HardState(HardState),
    Reset(SnapshotMeta),
    Base(SnapshotMeta),
    Carried(Carried),
    Remembered(BTreeMap<NodeId, Index>),
}

impl Decoded {
    /// The record as it was written.
    pub(crate) fn as_record(&self) -> Record<'_> {
        match self {
            Self::Entry(entry) => Record::Entry(entry),
            Self::HardState(state) => Record::HardState(state),
            Self::Reset(meta) => Record::Reset(meta),
            Self::Base(meta) => Record::Base(meta),
            Self::Carried(carried) => Record::Carried(carried),
            Self::Remembered(remembered) => Record::Remembered(remembered),
        }
    }
}

/// Why a record can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordDefect {
    /// It is not what was written.
    Damaged(&'static str),
    /// It is what was written, by a version that knows more.
    UnknownKind(u8),
}

impl From<Malformed> for RecordDefect {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Damaged(what)
    }
}

impl From<bytes::TryGetError> for RecordDefect {
    fn from(error: bytes::TryGetError) -> Self {
        Malformed::from(error).into()
    }
}

impl Record<'_> {
    /// Bytes that [`encode`](Self::encode) writes.
    pub(crate) fn encoded_bytes(&self) -> usize {
        RECORD_HEADER_BYTES
            + match self {
                Self::Entry(entry) => ENTRY_FIXED_BYTES + payload_bytes(&entry.payload),
                Self::HardState(_) => codec::HARD_STATE_BYTES,
                Self::Reset(meta) | Self::Base(meta) => codec::meta_bytes(meta),
                Self::Carried(carried) => {
                    codec::HARD_STATE_BYTES + codec::POSITION_BYTES + codec::meta_bytes(&carried.base)
                }
                Self::Remembered(remembered) => codec::remembered_bytes(remembered),
            }
    }

    /// Writes the record; `seed` stands for the place it is written to.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, group: GroupId, seed: u32) {
        let start = out.len();
        let body_bytes = self.encoded_bytes() - RECORD_HEADER_BYTES;
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(body_bytes).expect("a record is smaller than 4 GiB"));
        out.put_u64_le(group.0);
        out.put_u8(self.kind());
        match self {
            Self::Entry(entry) => put_entry(out, entry),
            Self::HardState(state) => codec::put_hard_state(out, state),
            Self::Reset(meta) | Self::Base(meta) => codec::put_meta(out, meta),
            Self::Carried(carried) => {
                codec::put_hard_state(out, &carried.hard_state);
                codec::put_position(out, carried.last);
                codec::put_meta(out, &carried.base);
            }
            Self::Remembered(remembered) => codec::put_remembered(out, remembered),
        }
        assert_eq!(out.len() - start, self.encoded_bytes(), "a record has the size it was announced with");
        let checksum = crc32c::crc32c_append(seed, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Entry(_) => KIND_ENTRY,
            Self::HardState(_) => KIND_HARD_STATE,
            Self::Reset(_) => KIND_RESET,
            Self::Base(_) => KIND_BASE,
            Self::Carried(_) => KIND_CARRIED,
            Self::Remembered(_) => KIND_REMEMBERED,
        }
    }
}

/// Reads the record at the start of `input`; returns it, its group and the bytes it takes. A command is what `command`
/// makes of its bytes.
pub(crate) fn decode(
    input: &[u8],
    seed: u32,
    command: impl FnOnce(&[u8]) -> Bytes,
) -> Result<(GroupId, Decoded, usize), RecordDefect> {
    let mut rest = input;
    let checksum = rest.try_get_u32_le()?;
    let body_bytes = rest.try_get_u32_le()? as usize;
    let group = GroupId(rest.try_get_u64_le()?);
    let kind = rest.try_get_u8()?;
    let end = RECORD_HEADER_BYTES.saturating_add(body_bytes);
    let record = input.get(..end).ok_or(RecordDefect::Damaged("a record is longer than its batch"))?;
    if crc32c::crc32c_append(seed, &record[4..]) != checksum {
        return Err(RecordDefect::Damaged("a record's checksum is wrong"));
    }
    let mut body = &record[RECORD_HEADER_BYTES..];
    let decoded = match kind {
        KIND_ENTRY => Decoded::Entry(get_entry(&mut body, command)?),
        KIND_HARD_STATE => Decoded::HardState(codec::get_hard_state(&mut body)?),
        KIND_RESET => Decoded::Reset(codec::get_meta(&mut body)?),
        KIND_BASE => Decoded::Base(codec::get_meta(&mut body)?),
        KIND_CARRIED => Decoded::Carried(Carried {
            hard_state: codec::get_hard_state(&mut body)?,
            last: codec::get_position(&mut body)?,
            base: codec::get_meta(&mut body)?,
        }),
        KIND_REMEMBERED => Decoded::Remembered(codec::get_remembered(&mut body)?),
        unknown => return Err(RecordDefect::UnknownKind(unknown)),
    };
    if !body.is_empty() {
        return Err(RecordDefect::Damaged("a record is longer than its contents"));
    }
    Ok((group, decoded, end))
}

fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Noop | Payload::Tick => 0,
        Payload::Command(proposal) => ORIGIN_BYTES + proposal.command.len(),
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let Entry { term, index, time, payload } = entry;
    out.put_u64_le(term.0);
    out.put_u64_le(index.0);
    out.put_u64_le(time.0);
    match payload {
        Payload::Noop => out.put_u8(PAYLOAD_NOOP),
        Payload::Tick => out.put_u8(PAYLOAD_TICK),
        Payload::Command(Proposal { origin, command }) => {
            let Origin { node, incarnation, sequence, settled_below } = *origin;
            out.put_u8(PAYLOAD_COMMAND);
            out.put_u64_le(node.0);
            out.put_u64_le(incarnation.0);
            out.put_u64_le(sequence);
            out.put_u64_le(settled_below);
            out.put_slice(command);
        }
    }
}

fn get_entry(body: &mut &[u8], command: impl FnOnce(&[u8]) -> Bytes) -> Result<Entry, RecordDefect> {
    let term = Term(body.try_get_u64_le()?);
    let index = Index(body.try_get_u64_le()?);
    let time = ClusterTime(body.try_get_u64_le()?);
    let payload = match body.try_get_u8()? {
        PAYLOAD_NOOP => Payload::Noop,
        PAYLOAD_TICK => Payload::Tick,
        PAYLOAD_COMMAND => {
            let origin = Origin {
                node: NodeId(body.try_get_u64_le()?),
                incarnation: Incarnation(body.try_get_u64_le()?),
                sequence: body.try_get_u64_le()?,
                settled_below: body.try_get_u64_le()?,
            };
            let command = command(std::mem::take(body));
            Payload::Command(Proposal { origin, command })
        }
        unknown => return Err(RecordDefect::UnknownKind(unknown)),
    };
    Ok(Entry { term, index, time, payload })
}
