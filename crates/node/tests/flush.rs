//! What is said of writes that are made durable beside the replica.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use bytes::Bytes;
use group::{FIRST, GROUP, Group, SECOND, THIRD, concerns, of_core};
use recorder::Recorder;
use ruvector_node::FlushJob;
use ruvector_node::replica::{Event, Output, PeerMessage, Ticket};
use ruvector_node::{Index, ReadLevel, Tuning};
use ruvector_protocol::Message;
use ruvector_protocol::message::AppendOutcome;

/// A group whose first node leads, and what it has sent the second of so many commands, each in a message of its own.
fn with_appends(count: u64) -> (Group<Recorder>, Vec<Event>) {
    let mut group = Group::start(&Tuning::default());
    group.elect(FIRST, |_| false);
    for number in 0..count {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
    }
    let appends = group.network.drain(..).filter(|message| message.to() == SECOND).map(Event::Message);
    let appends = appends.collect();
    (group, appends)
}

/// Hands the second node an event, and does nothing of what follows.
fn hand(group: &mut Group<Recorder>, event: Event) -> Vec<Output<Recorder>> {
    let mut outputs = Vec::new();
    let now = group.now;
    group.host(SECOND).handle(now, GROUP, event, &mut outputs).unwrap();
    outputs
}

/// Tells the second node what a job did, after the job was run.
fn run(group: &mut Group<Recorder>, job: FlushJob) -> Vec<Output<Recorder>> {
    let flushed = job.run();
    let mut outputs = Vec::new();
    let now = group.now;
    group.host(SECOND).flushed(now, flushed, &mut outputs).unwrap();
    outputs
}

/// Through which index the outputs say that the log is durable.
fn acknowledged(outputs: &[Output<Recorder>]) -> Vec<Index> {
    let matched = |output: &Output<Recorder>| {
        let Output::Send(message) = output else { return None };
        let Some(Message::AppendResponse(response)) = of_core(message) else { return None };
        match response.outcome {
            AppendOutcome::Accepted { matched } => Some(matched),
            AppendOutcome::Rejected { .. } => None,
        }
    };
    outputs.iter().filter_map(matched).collect()
}

#[test]
fn only_what_a_flush_wrote_is_acknowledged_when_it_ends() {
    let (mut group, appends) = with_appends(3);
    let [first, second, third] = appends.try_into().unwrap();
    assert_eq!(acknowledged(&hand(&mut group, first)), []);
    let flushed = group.host(SECOND).flush_job().run();
    assert_eq!(acknowledged(&hand(&mut group, second)), [], "it came after the log was synced");
    let (now, mut outputs) = (group.now, Vec::new());
    group.host(SECOND).flushed(now, flushed, &mut outputs).unwrap();
    assert_eq!(acknowledged(&outputs), [Index(2)]);
    assert!(group.host(SECOND).needs_flush());
    // The next flush takes what waits when it begins, not what waited when it was wanted.
    let job = group.host(SECOND).flush_job();
    assert_eq!(acknowledged(&hand(&mut group, third)), []);
    assert_eq!(acknowledged(&run(&mut group, job)).last(), Some(&Index(4)));
    assert!(!group.host(SECOND).needs_flush());
}

#[test]
fn a_flush_that_another_has_overtaken_says_nothing() {
    let (mut group, appends) = with_appends(1);
    for append in appends {
        hand(&mut group, append);
    }
    let job = group.host(SECOND).flush_job();
    let (now, mut outputs) = (group.now, Vec::new());
    group.host(SECOND).flush(now, &mut outputs).unwrap();
    assert_eq!(acknowledged(&outputs), [Index(2)]);
    assert_eq!(acknowledged(&run(&mut group, job)), []);
}

#[test]
fn what_a_flush_that_never_ran_would_have_written_is_lost_by_a_crash_and_was_never_acknowledged() {
    let (mut group, appends) = with_appends(1);
    for append in appends {
        assert_eq!(acknowledged(&hand(&mut group, append)), []);
    }
    let entries = |group: &mut Group<Recorder>| group.replica(SECOND).log_tail(10).unwrap().len();
    assert_eq!(entries(&mut group), 2, "the log is read with what waits");
    drop(group.host(SECOND).flush_job());
    group.restart(SECOND, 2);
    assert_eq!(entries(&mut group), 1);
}

#[test]
fn a_read_is_noticed_by_all_who_take_part_in_it_and_a_write_by_nobody() {
    let mut group: Group<Recorder> = Group::start(&Tuning::default());
    group.elect(FIRST, |_| false);
    let counts =
        |group: &mut Group<Recorder>| [FIRST, SECOND, THIRD].map(|node| group.replica(node).reads_begun());
    let risen = |group: &mut Group<Recorder>, node, event| {
        let before = counts(group);
        group.handle(node, event);
        group.deliver(|_| false);
        let after = counts(group);
        [0, 1, 2].map(|at| after[at] > before[at])
    };
    let read = |number| Event::Read(vec![(Ticket(number), ReadLevel::Strong)]);
    // The leader's own needs a round that both others hear of; one of a follower needs the leader, and nobody else.
    assert_eq!(risen(&mut group, FIRST, read(1)), [true; 3]);
    assert_eq!(risen(&mut group, SECOND, read(2)), [true, true, false]);
    let write = |number| Event::Propose(vec![(Ticket(number), Bytes::from("w"))]);
    assert_eq!(risen(&mut group, FIRST, write(3)), [false; 3]);
    assert_eq!(risen(&mut group, SECOND, write(4)), [false; 3]);
    group.heartbeat(FIRST, |_| false);
    assert_eq!((group.read.len(), group.proposed.len()), (2, 2));
}

#[test]
fn what_a_laggard_lacks_is_read_when_nobody_writes_the_log() {
    let is_lost = |message: &PeerMessage| concerns(message, THIRD);
    let mut group: Group<Recorder> = Group::start(&Tuning { tail_bytes_max: 1, ..Tuning::default() });
    group.elect(FIRST, |_| false);
    for number in 0..20 {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        group.deliver(is_lost);
    }
    group.handle(FIRST, Event::PeerLost(THIRD));
    let entries = |outputs: &[Output<Recorder>]| {
        let count = |output: &Output<Recorder>| {
            let Output::Send(message) = output else { return 0 };
            let Some(Message::AppendRequest(request)) = of_core(message) else { return 0 };
            if message.to() == THIRD { request.entries.len() } else { 0 }
        };
        outputs.iter().map(count).sum::<usize>()
    };
    // The disk is at work while the third comes back and says where its log ends.
    let job = group.host(FIRST).flush_job();
    let mut outputs = Vec::new();
    for _ in 0..30 {
        group.now = group.now.after_micros(30_000);
        let mut events = vec![(FIRST, Event::Wake)];
        while let Some((node, event)) = events.pop() {
            if node == FIRST {
                let from = outputs.len();
                let now = group.now;
                group.host(FIRST).handle(now, GROUP, event, &mut outputs).unwrap();
                for output in &outputs[from..] {
                    if let Output::Send(message) = output {
                        events.push((message.to(), Event::Message(message.clone())));
                    }
                }
            } else {
                group.handle(node, event);
            }
            events.extend(group.network.drain(..).map(|message| (message.to(), Event::Message(message))));
        }
    }
    assert_eq!(entries(&outputs), 0, "they were read though that may take as long as a sync does");
    let flushed = job.run();
    let (now, mut outputs) = (group.now, Vec::new());
    group.host(FIRST).flushed(now, flushed, &mut outputs).unwrap();
    assert!(entries(&outputs) > 0, "nobody has read them");
}
