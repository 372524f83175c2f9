//! How long a durable append takes into a file that grows, into one that was filled with zeros before, both through the
//! page cache and past it, and through the log itself. And what processor time each costs this process.
//!
//! `cargo run --release -p ruvector-storage --example append_speed -- DIRECTORY [BYTES]`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ruvector_protocol::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, Membership, NodeId, Origin, Payload,
    Proposal, SnapshotMeta, Term, Write, WriteId,
};
use ruvector_storage::{Disk, DiskFile, LogOptions, LogStore, Owner, RealDisk};

/// What is appended, and how often.
#[derive(Clone, Copy)]
struct Load {
    count: usize,
    bytes: usize,
}

/// Unless told otherwise.
const APPEND_BYTES: usize = 4096;
/// A file gets no larger than this, so that large appends are fewer.
const FILE_BYTES_MAX: usize = 200 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = std::env::args().nth(2).map_or(Ok(APPEND_BYTES), |bytes| bytes.parse())?;
    let load = Load { count: (FILE_BYTES_MAX / bytes).clamp(100, 2000), bytes };
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("append-speed-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = measure(&directory, load);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(directory: &Path, load: Load) -> Result<(), Box<dyn Error>> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
    let mut ways = [
        Appends::new(&*disk, "growing, page cache", load, false, Way::Write)?,
        Appends::new(&*disk, "growing, direct", load, false, Way::Append)?,
        Appends::new(&*disk, "zero-filled, page cache", load, true, Way::Write)?,
        Appends::new(&*disk, "zero-filled, direct", load, true, Way::Append)?,
    ];
    // In turn, so that whatever else the disk does at the time meets all.
    for _ in 0..load.count {
        for way in &mut ways {
            way.append()?;
        }
    }
    for way in ways {
        way.times.report(way.name);
    }
    let segment_bytes = ((load.count * load.bytes) as u64 / 6).max(1 << 20);
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    let owner = Owner { cluster_id: 1, node: NodeId(1) };
    let mut log = LogStore::open(Arc::clone(&disk), owner, options)?;
    log_appends(&mut log, 1, load)?.report("log, new segments");
    log_appends(&mut log, 1 + load.count as u64, load)?.report("log, recycled segments");
    Ok(())
}

#[derive(Clone, Copy)]
enum Way {
    Write,
    /// As the log does: past the page cache, if the file system can.
    Append,
}

struct Appends {
    name: &'static str,
    file: Box<dyn DiskFile>,
    contents: Vec<u8>,
    offset: u64,
    way: Way,
    times: Times,
}

impl Appends {
    fn new(
        disk: &dyn Disk,
        name: &'static str,
        load: Load,
        filled: bool,
        way: Way,
    ) -> Result<Self, Box<dyn Error>> {
        let mut file = disk.open(name, true)?;
        match way {
            _ if !filled => {}
            Way::Write => file.write_at(&vec![0; load.count * load.bytes], 0)?,
            Way::Append => file.append_at(&[], load.count * load.bytes, 0)?,
        }
        file.sync()?;
        Ok(Self { name, file, contents: vec![0x5a; load.bytes], offset: 0, way, times: Times::default() })
    }

    fn append(&mut self) -> Result<(), Box<dyn Error>> {
        let Self { file, contents, offset, way, .. } = self;
        self.times.take(|| {
            match way {
                Way::Write => file.write_at(contents, *offset)?,
                Way::Append => file.append_at(contents, 0, *offset)?,
            }
            Ok(file.sync()?)
        })?;
        self.offset += self.contents.len() as u64;
        Ok(())
    }
}

/// Appends entries and compacts often enough that segments come back to be used again.
fn log_appends(log: &mut LogStore, first: u64, load: Load) -> Result<Times, Box<dyn Error>> {
    let group = GroupId::METADATA;
    let mut times = Times::default();
    for index in first..first + load.count as u64 {
        let write = Write {
            id: WriteId(index),
            group,
            hard_state: (index == 1).then(HardState::default),
            remembered: None,
            snapshot: (index == 1).then(|| base(0)),
            entries: vec![entry(index, load.bytes)],
        };
        times.take(|| {
            log.append(&write)?;
            Ok(log.sync()?)
        })?;
        if index % (load.count as u64 / 4) == 0 {
            log.compact(group, &base(index - load.count as u64 / 20))?;
            log.sync()?;
        }
    }
    Ok(times)
}

fn base(index: u64) -> SnapshotMeta {
    let position = ruvector_protocol::LogPosition { term: Term(index.min(1)), index: Index(index) };
    SnapshotMeta { position, time: ClusterTime(0), membership: Membership { voters: [NodeId(1)].into() } }
}

fn entry(index: u64, bytes: usize) -> Entry {
    let origin =
        Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: index, settled_below: index };
    let command = vec![0x5a; bytes].into();
    Entry {
        term: Term(1),
        index: Index(index),
        time: ClusterTime(0),
        payload: Payload::Command(Proposal { origin, command }),
    }
}

/// How long appends took, and how long the processor was at work for them here. What the system does elsewhere is not in it.
#[derive(Default)]
struct Times {
    micros: Vec<u64>,
    processor: Duration,
}

impl Times {
    fn take(&mut self, append: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
        let (start, processor) = (Instant::now(), processor_time());
        append()?;
        self.processor += processor_time().saturating_sub(processor);
        self.micros.push(u64::try_from(start.elapsed().as_micros())?);
        Ok(())
    }

    fn report(mut self, what: &str) {
        self.micros.sort_unstable();
        let at = |part: usize| self.micros[self.micros.len() * part / 100];
        let processor = self.processor.as_micros() / self.micros.len() as u128;
        println!(
            "{what:24} p10 {:5} µs   median {:5} µs   p90 {:5} µs   processor {processor:4} µs",
            at(10),
            at(50),
            at(90)
        );
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
