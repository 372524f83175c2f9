//! How a replica begins: from an empty disk, or from what it left there.

use std::collections::VecDeque;

use ruvector_protocol::{
    ClusterTime, Config, Entry, GroupId, HardState, LogPosition, Raft, Restored, SnapshotMeta, Timestamp,
    Unread, Write, WriteId,
};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{RecoveredGroup, SnapshotInfo, SnapshotStore, StorageError};

use crate::journal::GroupJournal;

use super::hashes::checks::HashChecks;
use super::loads::wishes::Loads;
use super::origins::OriginWindow;
use super::pending::{Limits, PendingProposals};
use super::reads::pending::PendingReads;
use super::snapshots::contents::restore_contents;
use super::snapshots::state::Snapshots;
use super::transfer::receiver::state::Receiver;
use super::transfer::sender::state::Sender;
use super::{Replica, ReplicaConfig, ReplicaError};

/// How many bytes of commands a follower has on their way to its leader at most, so that they fit the queue to it and two
/// followers leave room for each other.
const FORWARDED_BYTES_MAX: usize = 32 << 20;
/// How long to wait after a snapshot failed until it is tried again, the first time.
const RETRY_ELECTION_TIMEOUTS: u64 = 10;

impl<M: StateMachine> Replica<M> {
    /// Continues from what was recovered of the group; one of which there is nothing begins with `config.membership`. The machine
    /// must be empty.
    ///
    /// # Errors
    /// If the disk refuses or what it holds is damaged.
    pub(crate) fn open(
        config: ReplicaConfig,
        journal: GroupJournal,
        store: SnapshotStore,
        recovered: Option<RecoveredGroup>,
        mut machine: M,
        now: Timestamp,
    ) -> Result<Self, ReplicaError> {
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => bootstrap(&journal, &config)?,
        };
        let start = restore_newest(config.group, &store, &recovered, &mut machine)?;
        let peers =
            recovered.base.membership.voters.iter().copied().filter(|id| *id != config.node).collect();
        let (unread, entries) = read_what_is_needed(&journal, &recovered, &start)?;
        let raft = Raft::new(
            raft_config(&config),
            Restored {
                hard_state: recovered.hard_state,
                remembered: recovered.remembered,
                base: recovered.base,
                unread,
                entries,
                applied: start.position.index,
                last_write: WriteId(0),
            },
            now,
        );
        if raft.is_newcomer() {
            tracing::info!(
                "the data directory is new: this node neither votes nor counts until it has heard every other member \
                 and caught up"
            );
        }
        let tuning = &config.tuning;
        let timeout_us = tuning.request_timeout_ms * 1000;
        let limits = Limits {
            count_max: tuning.pending_proposals_max,
            bytes_max: tuning.pending_bytes_max,
            timeout_us,
            retry_us: tuning.election_timeout_ms * 2000,
            pause_us: tuning.heartbeat_interval_ms * 1000,
            forwarded_bytes_max: FORWARDED_BYTES_MAX.min(tuning.uncommitted_bytes_max / 2),
        };
        Ok(Self {
            peers,
            raft,
            journal,
            store,
            machine,
            applied: start.position,
            applied_time: start.time,
            committed: VecDeque::new(),
            unsynced: None,
            origins: start.origins,
            proposals: PendingProposals::new(config.node, config.incarnation, limits),
            reads: PendingReads::new(
                timeout_us,
                tuning.heartbeat_interval_ms * 1000,
                tuning.pending_proposals_max,
            ),
            snapshots: Snapshots::new(
                start.snapshot,
                tuning.election_timeout_ms * RETRY_ELECTION_TIMEOUTS * 1000,
            ),
            sender: Sender::new(tuning.snapshot_chunk_bytes, tuning.election_timeout_ms * 1000),
            receiver: Receiver::default(),
            loads: Loads::default(),
            hashes: HashChecks::default(),
            tick_awaited: None,
            leader_changes: 0,
            effects: Vec::new(),
            config,
        })
    }
}

/// What the machine was restored to.
#[derive(Default)]
struct Start {
    position: LogPosition,
    time: ClusterTime,
    origins: OriginWindow,
    snapshot: Option<SnapshotInfo>,
}

fn bootstrap(journal: &GroupJournal, config: &ReplicaConfig) -> Result<RecoveredGroup, StorageError> {
    let base = SnapshotMeta { membership: config.membership.clone(), ..SnapshotMeta::default() };
    let hard_state = HardState { is_newcomer: true, ..HardState::default() };
    journal.begin(&Write {
        id: WriteId(0),
        group: config.group,
        hard_state: Some(hard_state),
        remembered: None,
        snapshot: Some(base.clone()),
        entries: Vec::new(),
    })?;
    Ok(RecoveredGroup { hard_state, base, ..RecoveredGroup::default() })
}

/// The entries that are not applied. Of those before, which may be many, the core needs the terms alone.
fn read_what_is_needed(
    journal: &GroupJournal,
    recovered: &RecoveredGroup,
    start: &Start,
) -> Result<(Unread, Vec<Entry>), StorageError> {
    let applied = start.position.index;
    let entries = journal.read(applied.next(), recovered.last.index, usize::MAX)?;
    let is_before = |position: &&LogPosition| position.index <= applied;
    let unread = Unread {
        term_starts: recovered.term_starts.iter().take_while(is_before).copied().collect(),
        last: (applied > recovered.base.position.index).then_some((applied, start.time)),
    };
    Ok((unread, entries))
}

/// Restores the machine from the newest usable snapshot. A damaged one is passed over if an older one and
/// the log together hold the same.
fn restore_newest<M: StateMachine>(
    group: GroupId,
    store: &SnapshotStore,
    recovered: &RecoveredGroup,
    machine: &mut M,
) -> Result<Start, ReplicaError> {
    let listing = store.listing()?;
    let mut failure = (listing.unusable.into_iter())
        .find(|snapshot| snapshot.automatic)
        .map(|snapshot| ReplicaError::Storage(snapshot.error));
    let mut candidates: Vec<_> = listing
        .usable
        .into_iter()
        .filter(|info| info.automatic && is_usable(info, group, recovered))
        .collect();
    candidates.sort_by_key(|info| info.meta.position.index);
    for info in candidates.into_iter().rev() {
        match restore_contents(store, &info.name, machine) {
            Ok(origins) => {
                return Ok(Start {
                    position: info.meta.position,
                    time: info.meta.time,
                    origins,
                    snapshot: Some(info),
                });
            }
            Err(error) => {
                tracing::error!("passing over snapshot {}: {error}", info.name);
                failure = Some(error);
            }
        }
    }
    if recovered.base.position.index.0 == 0 {
        return Ok(Start::default());
    }
    Err(failure.unwrap_or_else(|| {
        ReplicaError::Storage(StorageError::Mismatch(format!(
            "the log begins behind index {} but there is no snapshot of what was before; move the data \
             directory away and let this node catch up from its peers, or restore a snapshot",
            recovered.base.position.index
        )))
    }))
}

/// Whether the log continues from a snapshot: it is of an entry that the log holds, or of its base. One that
/// is ahead of the log was received and not yet installed; the leader will send it again.
fn is_usable(info: &SnapshotInfo, group: GroupId, recovered: &RecoveredGroup) -> bool {
    let position = info.meta.position;
    info.group == group && recovered.holds(position)
}

fn raft_config(config: &ReplicaConfig) -> Config {
    let tuning = &config.tuning;
    Config {
        heartbeat_interval_us: tuning.heartbeat_interval_ms * 1000,
        // All groups of a node have the same interval and the same clock.
        beat_us: tuning.heartbeat_interval_ms * 1000,
        election_timeout_us: tuning.election_timeout_ms * 1000,
        clock_drift_ppm: tuning.clock_drift_ppm,
        gather_us: tuning.gather_max_us,
        tail_bytes_max: tuning.tail_bytes_max,
        uncommitted_bytes_max: tuning.uncommitted_bytes_max,
        inflight_bytes_max: tuning.inflight_bytes_max,
        append_bytes_max: tuning.append_bytes_max,
        #[cfg(feature = "planted-bugs")]
        planted_bug: config.core_bug,
        ..Config::new(config.group, config.node, config.incarnation, config.seed)
    }
}
