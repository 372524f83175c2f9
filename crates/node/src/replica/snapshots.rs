//! Taking snapshots of this replica, dropping the log behind them, and putting a peer's in place.

mod restoring;
mod unhurried;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ruvector_protocol::{Index, Input, PlantedBug, SnapshotMeta, Timestamp};
use ruvector_state_machine::{RestoreError, StateMachine};
use ruvector_storage::{SnapshotInfo, SnapshotStore, StorageError};

use super::origins::OriginWindow;
use super::{Event, GROUP, JobDone, Output, Replica, ReplicaError, SnapshotJob, Ticket};
use crate::handle::NodeError;
use restoring::restore;
use unhurried::Unhurried;

/// What a replica knows of its own snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The newest that the node made for its own use or received.
    newest: Option<SnapshotInfo>,
    /// One is being written.
    running: bool,
    /// After a failure: none is tried before this index is applied.
    not_before: Index,
    /// Compactions that wait for a snapshot that covers them.
    compactions: Vec<(Ticket, Index)>,
    /// The index that is applied, for the threads that write snapshots to see whether the replica is busy.
    applied: Arc<AtomicU64>,
}

impl Snapshots {
    pub(super) fn new(newest: Option<SnapshotInfo>) -> Self {
        Self {
            newest,
            running: false,
            not_before: Index(0),
            compactions: Vec::new(),
            applied: Arc::default(),
        }
    }

    /// Tells those that write snapshots what is applied.
    pub(super) fn tell_applied(&self, index: Index) {
        self.applied.store(index.0, Ordering::Relaxed);
    }

    pub(super) fn newest(&self) -> Option<Index> {
        self.newest.as_ref().map(|info| info.meta.position.index)
    }

    pub(super) fn newest_info(&self) -> Option<&SnapshotInfo> {
        self.newest.as_ref()
    }
}

impl<M: StateMachine> SnapshotJob<M> {
    /// Does the work; it may take long.
    #[must_use]
    pub fn run(self) -> Event {
        Event::JobDone(match self {
            Self::Write { name, ticket, meta, view, origins, applied, store } => {
                let result = write_contents::<M>(&store, &name, &meta, &view, &origins, &applied);
                JobDone::Written { ticket, result }
            }
            Self::Complete { from, term, meta, receiver } => {
                JobDone::Completed { from, term, meta, result: receiver.finish() }
            }
        })
    }
}

/// A snapshot's contents are what is remembered of origins, with its length before it, and the machine's.
fn write_contents<M: StateMachine>(
    store: &SnapshotStore,
    name: &str,
    meta: &SnapshotMeta,
    view: &M::View,
    origins: &OriginWindow,
    applied: &AtomicU64,
) -> Result<SnapshotInfo, StorageError> {
    let mut writer = store.create(name, GROUP, meta)?;
    // Hardly anybody waits for it: a follower that is far behind gets a snapshot that is there.
    let mut seen = applied.load(Ordering::Relaxed);
    let is_busy = || {
        let before = seen;
        seen = applied.load(Ordering::Relaxed);
        seen != before
    };
    let mut unhurried = Unhurried::new(&mut writer, is_busy, std::thread::sleep);
    write_origins(&mut unhurried, origins)
        .and_then(|()| M::write_snapshot(view, &mut unhurried))
        .map_err(|source| StorageError::Io { action: "writing", file: format!("snapshot {name}"), source })?;
    writer.finish()
}

fn write_origins(writer: &mut dyn Write, origins: &OriginWindow) -> io::Result<()> {
    let bytes = postcard::to_stdvec(origins).map_err(io::Error::other)?;
    writer.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
    writer.write_all(&bytes)
}

fn read_origins(reader: &mut dyn Read) -> Result<OriginWindow, RestoreError> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    // Grows as bytes come: a damaged length can't make it allocate more than there is.
    if reader.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(RestoreError::Format("it ends within the origins".to_owned()));
    }
    postcard::from_bytes(&bytes).map_err(|error| RestoreError::Format(format!("its origins: {error}")))
}

/// Copies a snapshot's contents without what is remembered of origins.
pub(crate) fn copy_machine_contents(
    reader: &mut dyn Read,
    writer: &mut dyn Write,
) -> Result<(), RestoreError> {
    let _ = read_origins(reader)?;
    write_origins(writer, &OriginWindow::default())?;
    io::copy(reader, writer)?;
    Ok(())
}

/// Replaces a machine's state by a snapshot's and returns what is remembered of origins. On an error the
/// machine is unchanged.
pub(super) fn restore_contents<M: StateMachine>(
    store: &SnapshotStore,
    name: &str,
    machine: &mut M,
) -> Result<OriginWindow, ReplicaError> {
    let mut reader = store.open_contents(name)?;
    let restored =
        read_origins(&mut reader).and_then(|origins| restore(machine, &mut reader).map(|()| origins));
    restored.map_err(|source| ReplicaError::Restore { name: name.to_owned(), source })
}

impl<M: StateMachine> Replica<M> {
    pub(super) fn snapshot_if_due(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.applied.index >= self.snapshots.not_before && self.is_snapshot_due() {
            self.snapshot_now(outputs);
        }
    }

    /// A snapshot costs as much as the state is large, so it waits until the log is as large as the last one:
    /// then all snapshots together cost about as much as the log itself. But not for ever: to read many small
    /// entries again at a start takes its time too.
    fn is_snapshot_due(&self) -> bool {
        let newest = self.snapshots.newest().unwrap_or_default();
        let new_entries = self.applied.index.0.saturating_sub(newest.0);
        let log_bytes = self.journal.extent().entry_bytes;
        let tuning = &self.config.tuning;
        let is_worth_it = self.snapshots.newest_info().is_none_or(|info| log_bytes >= info.file_bytes);
        let is_large = log_bytes >= tuning.snapshot_log_bytes && new_entries > 0;
        let is_long = new_entries >= tuning.snapshot_entries;
        let is_too_long = new_entries >= tuning.snapshot_entries.saturating_mul(PATIENCE_FACTOR);
        is_too_long || is_worth_it && (is_long || is_large)
    }

    /// Begins a snapshot for the node's own use, if none is under way.
    pub(super) fn snapshot_now(&mut self, outputs: &mut Vec<Output<M>>) {
        if !self.snapshots.running {
            self.snapshots.running = true;
            let meta = self.present_meta();
            let name = SnapshotStore::automatic_name(GROUP, &meta);
            outputs.push(Output::Run(self.write_job(name, None, meta)));
        }
    }

    pub(super) fn create_snapshot(&mut self, ticket: Ticket, name: &str, outputs: &mut Vec<Output<M>>) {
        let meta = self.present_meta();
        outputs.push(Output::Run(self.write_job(name.to_owned(), Some(ticket), meta)));
    }

    fn present_meta(&self) -> SnapshotMeta {
        let membership = self.raft.status().membership;
        SnapshotMeta { position: self.applied, time: self.applied_time, membership }
    }

    fn write_job(&self, name: String, ticket: Option<Ticket>, meta: SnapshotMeta) -> SnapshotJob<M> {
        SnapshotJob::Write {
            name,
            ticket,
            meta,
            view: self.machine.view(),
            origins: self.origins.clone(),
            applied: Arc::clone(&self.snapshots.applied),
            store: self.store.clone(),
        }
    }

    pub(super) fn job_done(
        &mut self,
        now: Timestamp,
        done: JobDone,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        match done {
            JobDone::Written { ticket: Some(ticket), result } => {
                let result = result.map_err(|error| NodeError::Refused(error.to_string()));
                outputs.push(Output::SnapshotCreated { ticket, result });
                Ok(())
            }
            JobDone::Written { ticket: None, result } => self.own_snapshot_written(now, result, outputs),
            JobDone::Completed { from, term, meta, result } => {
                self.transfer_completed(now, from, term, meta, result, outputs)
            }
        }
    }

    fn own_snapshot_written(
        &mut self,
        now: Timestamp,
        result: Result<SnapshotInfo, StorageError>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        self.snapshots.running = false;
        match result {
            Ok(info) => {
                tracing::info!("wrote snapshot {} ({} bytes)", info.name, info.file_bytes);
                let index = info.meta.position.index;
                if self.snapshots.newest().is_none_or(|newest| newest < index) {
                    self.snapshots.newest = Some(info);
                }
                self.drop_log_behind_snapshot(now, index, outputs)?;
                self.remove_old_snapshots()?;
            }
            Err(error) => {
                // Nothing rests on this file: the node goes on with its log and tries again later.
                tracing::error!("taking a snapshot failed: {error}");
                let pause = self.config.tuning.snapshot_entries.div_ceil(4);
                self.snapshots.not_before = Index(self.applied.index.0.saturating_add(pause));
                for (ticket, _) in std::mem::take(&mut self.snapshots.compactions) {
                    let result = Err(NodeError::Refused(format!("taking a snapshot failed: {error}")));
                    outputs.push(Output::LogCompacted { ticket, result });
                }
            }
        }
        for (ticket, before) in std::mem::take(&mut self.snapshots.compactions) {
            self.compact_log(now, ticket, before, outputs)?;
        }
        // The log may have grown as large again meanwhile, and perhaps nothing more is applied for long.
        self.snapshot_if_due(outputs);
        Ok(())
    }

    /// Drops the log behind a snapshot but for the entries that are retained: as many as configured, or half
    /// as many, and so on, until they are few enough in bytes.
    fn drop_log_behind_snapshot(
        &mut self,
        now: Timestamp,
        snapshot: Index,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let mut keep = self.config.tuning.retained_entries;
        loop {
            self.drop_log_through(now, Index(snapshot.0.saturating_sub(keep)), outputs)?;
            if keep == 0 || self.journal.extent().entry_bytes <= self.config.tuning.snapshot_log_bytes / 2 {
                return Ok(());
            }
            keep /= 2;
        }
    }

    pub(super) fn compact_log(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        before: Index,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let applied = self.applied.index;
        if before > applied.next() {
            let text = format!("index {before} is beyond what is applied, {applied}; choose a lower one");
            outputs.push(Output::LogCompacted { ticket, result: Err(NodeError::Refused(text)) });
            return Ok(());
        }
        let through = before.previous().unwrap_or_default();
        if before > self.first_index() && self.snapshots.newest().is_none_or(|newest| newest < through) {
            self.snapshots.compactions.push((ticket, before));
            self.snapshot_now(outputs);
            return Ok(());
        }
        self.drop_log_through(now, through, outputs)?;
        outputs.push(Output::LogCompacted { ticket, result: Ok(self.first_index()) });
        Ok(())
    }

    /// Drops the log up to and with an index that the newest snapshot covers.
    fn drop_log_through(
        &mut self,
        now: Timestamp,
        through: Index,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if through < self.first_index() {
            return Ok(());
        }
        let newest = self.snapshots.newest();
        assert!(
            newest.is_some_and(|newest| through <= newest),
            "dropping the log through {through} needs a snapshot, the newest is {newest:?}"
        );
        // What is applied may not yet be durable here, if the others' disks were faster.
        self.flush(now, outputs)?;
        let membership = self.raft.status().membership;
        let base = self.journal.with(|log| {
            let entries = log.read(GROUP, through, through, 1)?;
            let Some(entry) = entries.first() else { return Ok(None) };
            let base = SnapshotMeta { position: entry.position(), time: entry.time, membership };
            log.compact(GROUP, &base)?;
            log.sync()?;
            Ok(Some(base))
        })?;
        let Some(base) = base else { return Ok(()) };
        self.step(now, Input::Compacted(base), outputs)
    }

    /// Removes the node's own snapshots but for the newest two and those that are being sent. One that is ahead of what
    /// is applied was received and is not installed: a start can't use it, so it takes the place of none that it can.
    fn remove_old_snapshots(&mut self) -> Result<(), StorageError> {
        let is_own = |info: &SnapshotInfo| {
            info.automatic && info.group == GROUP && info.meta.position.index <= self.applied.index
        };
        let mut own: Vec<_> = self.store.list()?.into_iter().filter(is_own).collect();
        own.sort_by_key(|info| info.meta.position.index);
        for info in own.iter().rev().skip(KEPT_SNAPSHOTS) {
            if !self.transfers.is_sending(&info.name) {
                self.store.remove(&info.name)?;
            }
        }
        Ok(())
    }

    /// Removes a snapshot that can't be read.
    pub(super) fn forget_snapshot(&mut self, name: &str) -> Result<(), StorageError> {
        self.snapshots.newest.take_if(|info| info.name == name);
        self.store.remove(name)
    }

    /// Puts a received snapshot in the place of the machine's state.
    pub(super) fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<Input, ReplicaError> {
        let index = meta.position.index;
        assert!(
            index > self.applied.index,
            "a snapshot of index {index} would take back what is applied, {}",
            self.applied.index
        );
        let name = SnapshotStore::automatic_name(GROUP, meta);
        self.origins = restore_contents(&self.store, &name, &mut self.machine)?;
        if self.config.planted(PlantedBug::SnapshotWithoutOrigins) {
            self.origins = OriginWindow::default();
        }
        self.committed.clear();
        self.applied = meta.position;
        self.applied_time = meta.time;
        self.hashes.clear();
        self.snapshots.newest = self.store.list()?.into_iter().find(|info| info.name == name);
        tracing::info!("installed snapshot {name}");
        outputs.push(Output::Published);
        self.release_reads(outputs);
        Ok(Input::Applied(index))
    }
}

/// How many times `snapshot_entries` are applied before even a small log is followed by a snapshot.
const PATIENCE_FACTOR: u64 = 10;
/// How many of its own snapshots a node keeps: one more than it needs, against damage.
const KEPT_SNAPSHOTS: usize = 2;
