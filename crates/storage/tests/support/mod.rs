//! What the storage tests share: groups, writes, and the naive twin of the log.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod forge;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ruvector_protocol::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, LogPosition, Membership, NodeId, Origin,
    Payload, Proposal, Reign, SnapshotMeta, Term, Timestamp, Write, WriteId,
};
use ruvector_storage::{GroupContents, LogOptions, LogStore, Owner, SimulatedDisk, StorageError};

/// Where the log's end is known a second time.
pub(crate) const MARK: &str = "log-mark";

pub(crate) type Recovered = BTreeMap<GroupId, GroupContents>;

/// Whose everything is, unless a test says otherwise.
pub(crate) const OWNER: Owner = Owner { cluster_id: 0x1122_3344_5566_7788, node: NodeId(1) };

pub(crate) const SMALL: LogOptions = LogOptions { segment_bytes: 4096, recycled_segments_max: 2 };

/// Segments of several blocks, that don't end where a block does.
pub(crate) const ODD: LogOptions = LogOptions { segment_bytes: 13_000, recycled_segments_max: 2 };

pub(crate) fn open(disk: &SimulatedDisk) -> Result<(LogStore, Recovered), StorageError> {
    open_with(disk, SMALL)
}

pub(crate) fn open_with(
    disk: &SimulatedDisk,
    options: LogOptions,
) -> Result<(LogStore, Recovered), StorageError> {
    let log = LogStore::open(Arc::new(disk.clone()), OWNER, options)?;
    let contents = log.contents()?;
    Ok((log, contents))
}

pub(crate) fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta {
        position: LogPosition { term: Term(term), index: Index(index) },
        time: ClusterTime(index * 10),
        membership: Membership { voters: [NodeId(1), NodeId(2), NodeId(3)].into() },
    }
}

pub(crate) fn hard_state(term: u64, vote: Option<u64>, commit: u64) -> HardState {
    let voted_for = vote.map(NodeId);
    HardState {
        term: Term(term),
        voted_for,
        commit: Index(commit),
        is_newcomer: false,
        promised_us: term * 1000,
        reign: vote.map(|node| Reign { leader: NodeId(node), since: Timestamp(term * 7) }),
    }
}

/// An entry whose command is `bytes` long and differs from that of any other entry.
pub(crate) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let origin = Origin {
        node: NodeId(1),
        incarnation: Incarnation(7),
        sequence: term * 1000 + index,
        settled_below: index,
    };
    let payload = match bytes {
        0 => Payload::Noop,
        1 => Payload::Tick,
        _ => {
            let command: Vec<u8> = (0..bytes).map(|at| (at as u64 * 7 + index * 13 + term) as u8).collect();
            Payload::Command(Proposal { origin, command: Bytes::from(command) })
        }
    };
    Entry { term: Term(term), index: Index(index), time: ClusterTime(index * 10), payload }
}

pub(crate) fn write(group: u64) -> Write {
    Write {
        id: WriteId(1),
        group: GroupId(group),
        hard_state: None,
        remembered: None,
        snapshot: None,
        entries: Vec::new(),
    }
}

pub(crate) fn first_write(group: u64) -> Write {
    Write { snapshot: Some(meta(0, 0)), hard_state: Some(hard_state(1, Some(1), 0)), ..write(group) }
}

pub(crate) fn entries(group: u64, entries: impl IntoIterator<Item = Entry>) -> Write {
    Write { entries: entries.into_iter().collect(), ..write(group) }
}

/// Tells how far nodes had come.
pub(crate) fn remembering(group: u64, told: impl IntoIterator<Item = (u64, u64)>) -> Write {
    let remembered = told.into_iter().map(|(node, index)| (NodeId(node), Index(index))).collect();
    Write { remembered: Some(remembered), ..write(group) }
}

/// What the log does, as simply as can be said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Twin {
    pub(crate) groups: Recovered,
}

impl Twin {
    pub(crate) fn append(&mut self, write: &Write) {
        let group = self.groups.entry(write.group).or_default();
        if let Some(meta) = &write.snapshot {
            group.base = meta.clone();
            group.entries.clear();
        }
        if let Some(state) = write.hard_state {
            group.hard_state = state;
        }
        if let Some(first) = write.entries.first() {
            group.entries.retain(|held| held.index < first.index);
            group.entries.extend(write.entries.iter().cloned());
        }
        if let Some(remembered) = &write.remembered {
            group.remembered.clone_from(remembered);
        }
    }

    pub(crate) fn compact(&mut self, group: u64, base: &SnapshotMeta) {
        let group = self.groups.get_mut(&GroupId(group)).unwrap();
        if base.position.index > group.base.position.index {
            group.entries.retain(|held| held.index > base.position.index);
            group.base = base.clone();
        }
    }

    pub(crate) fn last(&self, group: u64) -> LogPosition {
        let group = &self.groups[&GroupId(group)];
        group.entries.last().map_or(group.base.position, Entry::position)
    }
}
