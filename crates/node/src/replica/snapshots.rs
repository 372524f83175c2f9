//! Taking snapshots of this replica, dropping the log behind them, and putting a peer's in place.

pub(super) mod contents;
mod job;
mod restoring;
pub(super) mod state;
mod unhurried;

use std::sync::Arc;

use ruvector_protocol::{Index, Input, SnapshotMeta, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotInfo, SnapshotStore, StorageError};

use super::origins::OriginWindow;
use super::planted::PlantedBug;
use super::{JobDone, Output, Replica, ReplicaError, SnapshotJob, Ticket};
use crate::outcome::NodeError;
use contents::restore_contents;
use state::NAMED_RUNNING_MAX;

impl<M: StateMachine> Replica<M> {
    pub(super) fn snapshot_if_due(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.snapshots.retry_at.is_none() && self.is_snapshot_due() {
            self.snapshot_now(outputs);
        }
    }

    /// Tries again what failed, if it is still wanted, once time has passed: perhaps nothing more is applied for long.
    pub(super) fn wake_snapshots(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) {
        if self.snapshots.retry_at.take_if(|at| *at <= now).is_some() {
            self.snapshot_if_due(outputs);
        }
    }

    /// Begins a snapshot for a peer, as there is none, unless the last one has just failed.
    pub(super) fn snapshot_for_peer(&mut self, outputs: &mut Vec<Output<M>>) {
        if self.snapshots.retry_at.is_none() {
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

    /// Gives up the segments that the group's entries are in: writes the entries once more if they are few or if none of them is
    /// applied. Otherwise drops the log as far as it is applied, behind a snapshot that is taken first if there is none of that.
    pub(crate) fn release_log(
        &mut self,
        now: Timestamp,
        rewritten_bytes_max: u64,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let extent = self.journal.extent();
        if extent.entry_bytes <= rewritten_bytes_max || extent.first > self.applied.index {
            return Ok(self.journal.rewrite()?);
        }
        if self.snapshots.newest() == Some(self.applied.index) {
            return self.drop_log_through(now, self.applied.index, outputs);
        }
        self.snapshots.releases_log = true;
        if self.snapshots.retry_at.is_none() {
            self.snapshot_now(outputs);
        }
        Ok(())
    }

    /// Begins a snapshot for the node's own use, if none is under way.
    pub(super) fn snapshot_now(&mut self, outputs: &mut Vec<Output<M>>) {
        if !self.snapshots.running {
            self.snapshots.running = true;
            let meta = self.present_meta();
            let name = SnapshotStore::automatic_name(self.config.group, &meta);
            outputs.push(self.run(self.write_job(name, None, meta)));
        }
    }

    pub(super) fn create_snapshot(&mut self, ticket: Ticket, name: String, outputs: &mut Vec<Output<M>>) {
        if self.snapshots.named_running >= NAMED_RUNNING_MAX {
            let text = format!("{NAMED_RUNNING_MAX} snapshots are being written; try again when one is done");
            outputs.push(Output::SnapshotCreated { ticket, result: Err(NodeError::Refused(text)) });
            return;
        }
        self.snapshots.named_running += 1;
        let meta = self.present_meta();
        outputs.push(self.run(self.write_job(name, Some(ticket), meta)));
    }

    fn present_meta(&self) -> SnapshotMeta {
        let membership = self.raft.membership().clone();
        SnapshotMeta { position: self.applied, time: self.applied_time, membership }
    }

    fn write_job(&self, name: String, ticket: Option<Ticket>, meta: SnapshotMeta) -> SnapshotJob<M> {
        SnapshotJob::Write {
            group: self.config.group,
            name,
            ticket,
            meta,
            view: self.machine.view(),
            origins: self.origins.clone(),
            applied: Arc::clone(&self.snapshots.applied),
            store: self.store.clone(),
        }
    }

    pub(super) fn run(&self, job: SnapshotJob<M>) -> Output<M> {
        Output::Run { group: self.config.group, job }
    }

    pub(super) fn job_done(
        &mut self,
        now: Timestamp,
        done: JobDone,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        match done {
            JobDone::Written { ticket: Some(ticket), result } => {
                assert!(
                    self.snapshots.named_running > 0,
                    "a snapshot was written that was not begun: {result:?}"
                );
                self.snapshots.named_running -= 1;
                let result = result.map_err(|error| NodeError::Refused(error.to_string()));
                outputs.push(Output::SnapshotCreated { ticket, result });
                Ok(())
            }
            JobDone::Written { ticket: None, result } => self.own_snapshot_written(now, result, outputs),
            JobDone::Completed { from, term, meta, transfer, result } => {
                self.transfer_ended(transfer);
                self.transfer_completed(now, from, term, meta, result, outputs)
            }
            JobDone::Verified { name, verdict } => self.snapshot_verified(now, &name, verdict, outputs),
        }
    }

    fn own_snapshot_written(
        &mut self,
        now: Timestamp,
        result: Result<SnapshotInfo, StorageError>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if result.is_err() && self.config.planted(PlantedBug::FailedSnapshotForgotten) {
            return Ok(());
        }
        assert!(self.snapshots.running, "a snapshot was written that was not begun: {result:?}");
        self.snapshots.running = false;
        match result {
            Ok(info) => {
                tracing::info!("wrote snapshot {} ({} bytes)", info.name, info.file_bytes);
                self.snapshots.failures = 0;
                self.snapshots.retry_at = None;
                let index = info.meta.position.index;
                let applied = self.applied.index;
                assert!(
                    index <= applied,
                    "a snapshot of index {index} was written, and {applied} is applied"
                );
                if self.snapshots.newest().is_none_or(|newest| newest < index) {
                    self.snapshots.newest = Some(info);
                }
                self.drop_log_behind_snapshot(now, index, outputs)?;
                if std::mem::take(&mut self.snapshots.releases_log) {
                    self.drop_log_through(now, index, outputs)?;
                }
                self.remove_old_snapshots()?;
            }
            Err(error) => {
                // Nothing rests on this file: the node goes on with its log and tries again later.
                tracing::error!("taking a snapshot failed: {error}");
                self.snapshots.failed(now);
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
        let membership = self.raft.membership().clone();
        let entries = self.journal.read(through, through, 1)?;
        let Some(entry) = entries.first() else { return Ok(()) };
        let base = SnapshotMeta { position: entry.position(), time: entry.time, membership };
        self.journal.compact(&base)?;
        self.step(now, Input::Compacted(base), outputs)
    }

    /// Removes the node's own snapshots but for the newest two and those that are being sent. One that is ahead of what
    /// is applied was received and is not installed: a start can't use it, so it takes the place of none that it can.
    fn remove_old_snapshots(&mut self) -> Result<(), StorageError> {
        let group = self.config.group;
        let is_own = |info: &SnapshotInfo| {
            info.automatic && info.group == group && info.meta.position.index <= self.applied.index
        };
        let mut own: Vec<_> = self.store.list()?.into_iter().filter(is_own).collect();
        own.sort_by_key(|info| info.meta.position.index);
        for info in own.iter().rev().skip(KEPT_SNAPSHOTS) {
            if !self.sender.is_sending(&info.name) {
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
        let name = SnapshotStore::automatic_name(self.config.group, meta);
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
        outputs.push(Output::Published { group: self.config.group });
        self.release_reads(outputs);
        Ok(Input::Applied(index))
    }
}

/// How many times `snapshot_entries` are applied before even a small log is followed by a snapshot.
const PATIENCE_FACTOR: u64 = 10;
/// How many of its own snapshots a node keeps: one more than it needs, against damage.
const KEPT_SNAPSHOTS: usize = 2;
