//! Puts a million keys into the machine and prints what that takes in time and memory.
//!
//! `cargo run --release -p ruvector-state-machine --example million_keys`
#![allow(clippy::disallowed_methods, reason = "it measures time; the machine does not")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use ruvector_state_machine::kv::{Command, KvMachine, KvView, PutRequest, Revision};
use ruvector_state_machine::{Committed, StateMachine};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 256;
/// Entries between two views, as a replica that applies in batches would publish them.
const BATCH_ENTRIES: u64 = 64;

fn main() {
    let mut run = Run { machine: KvMachine::default(), view: KvMachine::default().view(), index: 0 };
    report("put a million new keys", KEYS, run.put_all(&|number| number));
    report("overwrite them in another order", KEYS, run.put_all(&|number| number * 7_919 % KEYS));
    report("overwrite them with a view of each", KEYS, run.put_all_with_views());

    let compact = Command::Compact { revision: run.view.revision() };
    run.apply(&compact);
    report("overwrite them while compacting", KEYS, run.put_all(&|number| number * 104_729 % KEYS));

    let start = Instant::now();
    let mut snapshot = Vec::new();
    KvMachine::write_snapshot(&run.view, &mut snapshot).expect("memory takes everything");
    report("write a snapshot", KEYS, start.elapsed());
    let start = Instant::now();
    run.machine.restore(&mut &snapshot[..]).expect("it was just written");
    report("restore it", KEYS, start.elapsed());
}

struct Run {
    machine: KvMachine,
    view: KvView,
    index: u64,
}

impl Run {
    fn put_all(&mut self, key_at: &dyn Fn(u64) -> u64) -> Duration {
        let mut spent = Duration::ZERO;
        for number in 0..KEYS {
            let command = put(key_at(number), number);
            let start = Instant::now();
            self.apply(&command);
            if number % BATCH_ENTRIES == 0 {
                self.view = self.machine.view();
            }
            spent += start.elapsed();
        }
        spent
    }

    fn put_all_with_views(&mut self) -> Duration {
        let mut spent = Duration::ZERO;
        for number in 0..KEYS {
            let command = put(number * 15_485_863 % KEYS, number);
            let start = Instant::now();
            self.apply(&command);
            self.view = self.machine.view();
            spent += start.elapsed();
        }
        spent
    }

    fn apply(&mut self, command: &Command) {
        self.index += 1;
        let response = self.machine.apply(&Committed {
            index: self.index,
            time_ms: self.index,
            command: command.encode(),
        });
        assert!(response.result.is_ok() && response.revision >= Revision(1), "{response:?}");
    }
}

fn put(key: u64, seed: u64) -> Command {
    Command::Put(PutRequest {
        key: Bytes::from(format!("/registry/{key:010}")),
        value: Bytes::from(vec![seed as u8; VALUE_BYTES]),
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

fn report(what: &str, operations: u64, spent: Duration) {
    let nanoseconds = spent.as_nanos() / u128::from(operations);
    println!("{what:<36} {nanoseconds:>6} ns each, {:>6} MB resident", resident_bytes() / 1_000_000);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
