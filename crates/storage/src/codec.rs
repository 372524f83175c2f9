//! The encodings that the log and the snapshot files share. All numbers are little-endian.
//!
//! Written out by hand on purpose: a derived encoding would let a change of a protocol type change the disk
//! format unnoticed. Here a new field does not compile until its place on disk has been decided.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, TryGetError};
use ruvector_protocol::{
    ClusterTime, HardState, Index, LogPosition, Membership, NodeId, Reign, SnapshotMeta, Term, Timestamp,
};

/// Bytes whose checksum is right and whose contents make no sense all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl From<TryGetError> for Malformed {
    fn from(_: TryGetError) -> Self {
        Self("it ends too early")
    }
}

/// No term and no index comes near this, so that there always is a next one.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// Bytes that [`put_hard_state`] writes.
pub(crate) const HARD_STATE_BYTES: usize = 51;

/// Bytes that [`put_position`] writes.
pub(crate) const POSITION_BYTES: usize = 16;

/// Bytes that [`put_meta`] writes.
pub(crate) fn meta_bytes(meta: &SnapshotMeta) -> usize {
    POSITION_BYTES + 8 + 4 + 8 * meta.membership.voters.len()
}

pub(crate) fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    let LogPosition { term, index } = position;
    out.put_u64_le(term.0);
    out.put_u64_le(index.0);
}

pub(crate) fn get_position(input: &mut &[u8]) -> Result<LogPosition, Malformed> {
    Ok(LogPosition { term: Term(get_number(input)?), index: Index(get_number(input)?) })
}

fn get_number(input: &mut &[u8]) -> Result<u64, Malformed> {
    match input.try_get_u64_le()? {
        number @ 0..=NUMBER_MAX => Ok(number),
        _ => Err(Malformed("a term or an index is one that no log reaches")),
    }
}

pub(crate) fn put_hard_state(out: &mut Vec<u8>, state: &HardState) {
    let HardState { term, voted_for, commit, is_newcomer, promised_us, reign } = *state;
    out.put_u64_le(term.0);
    out.put_u8(u8::from(voted_for.is_some()));
    out.put_u64_le(voted_for.map_or(0, |node| node.0));
    out.put_u64_le(commit.0);
    out.put_u8(u8::from(is_newcomer));
    out.put_u64_le(promised_us);
    out.put_u8(u8::from(reign.is_some()));
    out.put_u64_le(reign.map_or(0, |reign| reign.leader.0));
    out.put_u64_le(reign.map_or(0, |reign| reign.since.0));
}

pub(crate) fn get_hard_state(input: &mut &[u8]) -> Result<HardState, Malformed> {
    let term = Term(get_number(input)?);
    let voted = input.try_get_u8()?;
    let node = NodeId(input.try_get_u64_le()?);
    let voted_for = match voted {
        0 => None,
        1 => Some(node),
        _ => return Err(Malformed("the mark of a vote is neither 0 nor 1")),
    };
    let commit = Index(input.try_get_u64_le()?);
    let is_newcomer = match input.try_get_u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("the mark of a newcomer is neither 0 nor 1")),
    };
    let promised_us = input.try_get_u64_le()?;
    let is_led = input.try_get_u8()?;
    let leader = NodeId(input.try_get_u64_le()?);
    let since = Timestamp(input.try_get_u64_le()?);
    let reign = match is_led {
        0 => None,
        1 => Some(Reign { leader, since }),
        _ => return Err(Malformed("the mark of a reign is neither 0 nor 1")),
    };
    Ok(HardState { term, voted_for, commit, is_newcomer, promised_us, reign })
}

pub(crate) fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    let SnapshotMeta { position, time, membership } = meta;
    let Membership { voters } = membership;
    put_position(out, *position);
    out.put_u64_le(time.0);
    out.put_u32_le(u32::try_from(voters.len()).expect("a group has fewer than 2^32 voters"));
    for voter in voters {
        out.put_u64_le(voter.0);
    }
}

pub(crate) fn get_meta(input: &mut &[u8]) -> Result<SnapshotMeta, Malformed> {
    let position = get_position(input)?;
    let time = ClusterTime(input.try_get_u64_le()?);
    let voter_count = input.try_get_u32_le()?;
    let mut voters = BTreeSet::new();
    for _ in 0..voter_count {
        voters.insert(NodeId(input.try_get_u64_le()?));
    }
    Ok(SnapshotMeta { position, time, membership: Membership { voters } })
}

/// Bytes that [`put_remembered`] writes.
pub(crate) fn remembered_bytes(remembered: &BTreeMap<NodeId, Index>) -> usize {
    4 + 16 * remembered.len()
}

pub(crate) fn put_remembered(out: &mut Vec<u8>, remembered: &BTreeMap<NodeId, Index>) {
    out.put_u32_le(u32::try_from(remembered.len()).expect("a group has fewer than 2^32 voters"));
    for (node, index) in remembered {
        out.put_u64_le(node.0);
        out.put_u64_le(index.0);
    }
}

pub(crate) fn get_remembered(input: &mut &[u8]) -> Result<BTreeMap<NodeId, Index>, Malformed> {
    let count = input.try_get_u32_le()?;
    let mut remembered = BTreeMap::new();
    for _ in 0..count {
        let node = NodeId(input.try_get_u64_le()?);
        remembered.insert(node, Index(get_number(input)?));
    }
    Ok(remembered)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_term_or_an_index_without_a_next_one_is_refused() {
        for (number, is_taken) in [(NUMBER_MAX, true), (NUMBER_MAX + 1, false), (u64::MAX, false)] {
            let mut bytes = Vec::new();
            put_position(&mut bytes, LogPosition { term: Term(1), index: Index(number) });
            assert_eq!(get_position(&mut &bytes[..]).is_ok(), is_taken, "index {number}");
            bytes.clear();
            put_hard_state(&mut bytes, &HardState { term: Term(number), ..HardState::default() });
            assert_eq!(get_hard_state(&mut &bytes[..]).is_ok(), is_taken, "term {number}");
        }
    }
}
