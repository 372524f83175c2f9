//! How many instructions the hot paths take, counted by valgrind: the same on a busy machine as on a quiet one, so that
//! a regression shows. Each has a limit, a tenth above what it took when it was last looked at; whoever makes one
//! slower says why when raising it.
//!
//! `cargo xtask instructions` runs them. They need valgrind and `gungraun-runner` of the version in Cargo.toml; `cargo xtask setup` installs both.

// What the macros generate has no documentation.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/support/group.rs"]
mod group;

use std::hint::black_box;

use bytes::Bytes;
use group::{FIRST, Group};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use ruvector_node::replica::{Event, Ticket};
use ruvector_node::state_machine::kv::{
    Command, InSession, KeyRange, KvMachine, KvView, PutRequest, RangeRequest, SessionClient, SessionId,
};
use ruvector_node::state_machine::{Committed, StateMachine};
use ruvector_node::{ReadLevel, Tuning};

const KEYS: u64 = 10_000;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

fn put(number: u64) -> Command {
    Command::Put(PutRequest {
        key: Bytes::from(format!("key-{:08}", number % KEYS)),
        value: Bytes::from(vec![7; 256]),
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

fn puts(count: u64) -> Event {
    Event::Propose((0..count).map(|number| (Ticket(number), put(number * 77).encode())).collect())
}

/// Three replicas, the first leads; everything is warm. The log ends in the middle of what is written with zeros ahead, so that
/// the next put does not happen to be the one that has the next stretch written.
fn led_group() -> Group<KvMachine> {
    let mut group = Group::start(&Tuning::default());
    group.elect(FIRST, |_| false);
    for _ in 0..4 {
        group.handle(FIRST, puts(100));
        group.deliver(|_| false);
    }
    // So that the followers have applied everything, too.
    group.heartbeat(FIRST, |_| false);
    group
}

/// A store of many keys.
fn full_machine() -> KvMachine {
    let mut machine = KvMachine::default();
    for number in 0..KEYS {
        let command = put(number).encode();
        machine.apply(&Committed { index: number + 1, time_ms: number, command });
    }
    machine
}

fn full_machine_and(command: Bytes) -> (KvMachine, Committed) {
    (full_machine(), Committed { index: KEYS + 1, time_ms: KEYS, command })
}

fn a_put() -> (KvMachine, Committed) {
    full_machine_and(put(4242).encode())
}

fn a_put_in_a_session() -> (KvMachine, Committed) {
    let (mut machine, opening) = full_machine_and(Command::OpenSession { client: SessionClient(1) }.encode());
    machine.apply(&opening);
    let place = InSession { session: SessionId(1), sequence: 1, settled_below: 1 };
    (machine, Committed { index: KEYS + 2, time_ms: KEYS, command: place.encode(&put(4242)) })
}

fn view() -> KvView {
    full_machine().view()
}

// One put, from the leader's client to its answer, on all three replicas.
#[library_benchmark(config = at_most(89_000))]
#[bench::cold(setup = led_group)]
fn one_put_through_three_replicas(mut group: Group<KvMachine>) -> Group<KvMachine> {
    group.handle(FIRST, puts(1));
    group.deliver(|_| false);
    group
}

// A hundred puts that came together, on all three replicas. A tenth of it is the simulated disk, which copies each whole block
// that a log appends several times; valgrind counts every byte that is copied in one go as an instruction.
#[library_benchmark(config = at_most(2_100_000))]
#[bench::cold(setup = led_group)]
fn hundred_puts_through_three_replicas(mut group: Group<KvMachine>) -> Group<KvMachine> {
    group.handle(FIRST, puts(100));
    group.deliver(|_| false);
    group
}

// A hundred strong reads that came together: one round.
#[library_benchmark(config = at_most(176_000))]
#[bench::cold(setup = led_group)]
fn hundred_strong_reads(mut group: Group<KvMachine>) -> Group<KvMachine> {
    group.handle(FIRST, Event::Read((0..100).map(|number| (Ticket(number), ReadLevel::Strong)).collect()));
    group.deliver(|_| false);
    group
}

// One put on a store of ten thousand keys.
#[library_benchmark(config = at_most(7_800))]
#[bench::plain(setup = a_put)]
#[bench::in_a_session(setup = a_put_in_a_session)]
fn apply_a_put((mut machine, committed): (KvMachine, Committed)) -> KvMachine {
    black_box(machine.apply(black_box(&committed)));
    machine
}

// A hundred keys of ten thousand.
#[library_benchmark(config = at_most(1_700_000))]
#[bench::of_ten_thousand(setup = view)]
fn range_of_a_hundred(view: KvView) -> KvView {
    let range = KeyRange { key: Bytes::from_static(b"key-00005000"), range_end: Bytes::from_static(b"l") };
    let request = RangeRequest { limit: 100, ..RangeRequest::of(range) };
    black_box(view.range(black_box(&request)).unwrap());
    view
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [
        one_put_through_three_replicas,
        hundred_puts_through_three_replicas,
        hundred_strong_reads,
        apply_a_put,
        range_of_a_hundred
    ]
);
main!(library_benchmark_groups = hot_paths);
