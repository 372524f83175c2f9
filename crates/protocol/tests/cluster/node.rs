//! One node of the cluster in memory: a replica, its disk, its clock.

use std::collections::{BTreeMap, VecDeque};

use ruvector_protocol::{
    Config, Entry, HardState, Incarnation, Index, LogPosition, Membership, NodeId, Raft, Restored,
    SnapshotMeta, Timestamp, Unread, Write, WriteId,
};

pub struct Node {
    /// None while it is down.
    pub raft: Option<Raft>,
    pub config: Config,
    pub disk: Disk,
    /// Writes that the disk has not completed.
    pub unsynced: VecDeque<Write>,
    /// Applied, but the replica was not told.
    pub unanswered_apply: Option<Index>,
    /// The newest snapshot of its state.
    pub snapshot: Option<SnapshotMeta>,
    pub starts: u64,
    /// Disks that it had before it forgot everything.
    pub forgotten: Vec<Disk>,
    /// How far its clock is ahead of the cluster's.
    pub clock_offset_us: u64,
    /// How much faster its clock is.
    pub clock_drift_ppm: u64,
}

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub remembered: BTreeMap<NodeId, Index>,
    pub base: SnapshotMeta,
    pub entries: Vec<Entry>,
}

impl Disk {
    /// A disk that nothing was ever written to.
    pub fn empty() -> Self {
        Self { hard_state: HardState { is_newcomer: true, ..HardState::default() }, ..Self::default() }
    }

    pub fn write(&mut self, write: Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(remembered) = &write.remembered {
            self.remembered.clone_from(remembered);
        }
        if let Some(meta) = write.snapshot {
            self.base = meta;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            let last = self.entries.last().map_or(self.base.position.index, |entry| entry.index);
            assert!(first.index <= last.next(), "gap in the durable log: {} behind {last}", first.index);
            assert!(first.index > self.base.position.index, "{} rewritten under the base", first.index);
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries);
        }
    }

    pub fn load(&self, from: Index, through: Index, bytes_max: usize) -> Vec<Entry> {
        let wanted = self.entries.iter().filter(|entry| entry.index >= from && entry.index <= through);
        let mut bytes = 0;
        let entries: Vec<Entry> = wanted
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.weight() <= bytes_max;
                bytes += entry.weight();
                fits
            })
            .cloned()
            .collect();
        if entries.first().is_some_and(|entry| entry.index == from) { entries } else { Vec::new() }
    }

    /// Whether it holds the entry at this position, itself or in a snapshot.
    pub fn holds(&self, position: LogPosition) -> bool {
        position.index <= self.base.position.index
            || self.entries.iter().any(|entry| entry.position() == position)
    }
}

impl Node {
    pub fn new(config: Config, membership: &Membership) -> Self {
        let base = SnapshotMeta { membership: membership.clone(), ..SnapshotMeta::default() };
        // As if it had run before with these settings.
        let hard_state = HardState { promised_us: config.election_timeout_us, ..HardState::default() };
        Self {
            raft: None,
            clock_offset_us: 0,
            clock_drift_ppm: 0,
            disk: Disk { base, hard_state, ..Disk::default() },
            unsynced: VecDeque::new(),
            unanswered_apply: None,
            snapshot: None,
            starts: 0,
            forgotten: Vec::new(),
            config,
        }
    }

    pub fn start(&mut self, now: Timestamp) {
        self.starts += 1;
        self.unsynced.clear();
        self.unanswered_apply = None;
        self.snapshot = (self.disk.base.position.index > Index(0)).then(|| self.disk.base.clone());
        let restored = Restored {
            hard_state: self.disk.hard_state,
            remembered: self.disk.remembered.clone(),
            base: self.disk.base.clone(),
            unread: Unread::default(),
            entries: self.disk.entries.clone(),
            applied: self.disk.base.position.index,
            last_write: WriteId(0),
        };
        let seed = self.config.seed.wrapping_mul(1000).wrapping_add(self.starts);
        let incarnation = Incarnation(self.starts);
        self.raft = Some(Raft::new(Config { seed, incarnation, ..self.config.clone() }, restored, now));
    }

    pub fn local_time(&self, now_us: u64) -> Timestamp {
        Timestamp(self.clock_offset_us + now_us + now_us / 1_000_000 * self.clock_drift_ppm)
    }

    /// When it wants to be woken, on the clock of the cluster.
    pub fn global_deadline_us(&self) -> Option<u64> {
        let deadline = self.raft.as_ref()?.deadline()?;
        let ahead = self.clock_offset_us + deadline.0 / 1_000_000 * self.clock_drift_ppm;
        let mut guess = deadline.0.saturating_sub(ahead);
        while self.local_time(guess) < deadline {
            guess += (deadline.0 - self.local_time(guess).0).max(1);
        }
        Some(guess)
    }

    pub fn sync_one(&mut self) -> Option<WriteId> {
        let write = self.unsynced.pop_front()?;
        let id = write.id;
        self.disk.write(write);
        Some(id)
    }

    pub fn sync_all(&mut self) {
        while self.sync_one().is_some() {}
    }

    /// What the disk will hold once all writes are done: the replica's own log.
    pub fn intended_disk(&self) -> Disk {
        let mut disk = self.disk.clone();
        for write in &self.unsynced {
            disk.write(write.clone());
        }
        disk
    }

    /// Whether it holds the entry at this position, or did before it forgot everything.
    pub fn ever_held(&self, position: LogPosition) -> bool {
        self.disk.holds(position) || self.forgotten.iter().any(|disk| disk.holds(position))
    }

    /// Takes a snapshot at `applied`, which moves the base of the durable log.
    pub fn compact(&mut self, applied: Index) -> Option<SnapshotMeta> {
        if self.unsynced.iter().any(|write| write.snapshot.is_some()) {
            return None;
        }
        let entry = self.disk.entries.iter().find(|entry| entry.index == applied)?;
        let membership = self.disk.base.membership.clone();
        let meta = SnapshotMeta { position: entry.position(), time: entry.time, membership };
        self.disk.base = meta.clone();
        self.disk.entries.retain(|entry| entry.index > applied);
        self.snapshot = Some(meta.clone());
        Some(meta)
    }
}
