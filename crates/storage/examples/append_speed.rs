//! How long a durable append takes into a file that grows, into one that was filled with zeros before, and
//! through the log itself.
//!
//! `cargo run --release -p ruvector-storage --example append_speed -- DIRECTORY`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ruvector_protocol::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, Membership, NodeId, Origin, Payload,
    Proposal, SnapshotMeta, Term, Write, WriteId,
};
use ruvector_storage::{Disk, DiskFile, LogOptions, LogStore, RealDisk};

const APPENDS: usize = 2000;
const APPEND_BYTES: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("append-speed-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = measure(&directory);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(directory: &Path) -> Result<(), Box<dyn Error>> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
    // In turn, so that whatever else the disk does at the time meets both.
    let mut growing = Appends::new(&*disk, "growing", 0)?;
    let mut filled = Appends::new(&*disk, "filled", APPENDS * APPEND_BYTES)?;
    for _ in 0..APPENDS {
        growing.append()?;
        filled.append()?;
    }
    report("growing file", growing.micros);
    report("zero-filled file", filled.micros);
    let options = LogOptions { segment_bytes: 4 << 20, ..LogOptions::default() };
    let (mut log, _) = LogStore::open(Arc::clone(&disk), options)?;
    report("log, new segments", log_appends(&mut log, 1)?);
    report("log, recycled segments", log_appends(&mut log, 1 + APPENDS as u64)?);
    Ok(())
}

struct Appends {
    file: Box<dyn DiskFile>,
    offset: u64,
    micros: Vec<u64>,
}

impl Appends {
    fn new(disk: &dyn Disk, name: &str, filled: usize) -> Result<Self, Box<dyn Error>> {
        let mut file = disk.open(name, true)?;
        file.write_at(&vec![0; filled], 0)?;
        file.sync()?;
        Ok(Self { file, offset: 0, micros: Vec::new() })
    }

    fn append(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        self.file.write_at(&[0x5a; APPEND_BYTES], self.offset)?;
        self.file.sync()?;
        self.micros.push(u64::try_from(start.elapsed().as_micros())?);
        self.offset += APPEND_BYTES as u64;
        Ok(())
    }
}

/// Appends entries and compacts often enough that segments come back to be used again.
fn log_appends(log: &mut LogStore, first: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let group = GroupId::METADATA;
    let mut micros = Vec::new();
    for index in first..first + APPENDS as u64 {
        let write = Write {
            id: WriteId(index),
            group,
            hard_state: (index == 1).then(HardState::default),
            snapshot: (index == 1).then(|| base(0)),
            entries: vec![entry(index)],
        };
        let start = Instant::now();
        log.append(&write)?;
        log.sync()?;
        micros.push(u64::try_from(start.elapsed().as_micros())?);
        if index % 500 == 0 {
            log.compact(group, &base(index - 100))?;
            log.sync()?;
        }
    }
    Ok(micros)
}

fn base(index: u64) -> SnapshotMeta {
    let position = ruvector_protocol::LogPosition { term: Term(index.min(1)), index: Index(index) };
    SnapshotMeta { position, time: ClusterTime(0), membership: Membership { voters: [NodeId(1)].into() } }
}

fn entry(index: u64) -> Entry {
    let origin =
        Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: index, settled_below: index };
    let command = vec![0x5a; APPEND_BYTES].into();
    Entry {
        term: Term(1),
        index: Index(index),
        time: ClusterTime(0),
        payload: Payload::Command(Proposal { origin, command }),
    }
}

fn report(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |part: usize| micros[micros.len() * part / 100];
    println!("{what:24} p10 {:5} µs   median {:5} µs   p90 {:5} µs", at(10), at(50), at(90));
}
