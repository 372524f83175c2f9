//! Snapshots made by hand, of contents that could never be.
#![allow(clippy::unwrap_used)]

use super::super::KvMachine;
use super::super::command::{Command, PutRequest};
use super::super::command::{LeaseId, Outcome, Response, Retention, Revision};
use super::super::retention::marks::Mark;
use super::super::session::facts::{InSession, SessionClient, SessionId};
use super::super::stored::Version;
use super::record::RecordReader;
use super::*;
use crate::machine::{Committed, RestoreError, StateMachine};

const HEADER: Record<'static> = Record::Header {
    revision: Revision(9),
    compacted: Revision(4),
    time_ms: 0,
    history_first_sequence: 3,
    stripped: 0,
    sessions_opened: 2,
};

const HISTORY: Record<'static> = Record::History {
    written_bytes: 50,
    owed_record_quarters: 1,
    owed_bytes: 2,
    retention: Retention { age_ms: Some(9), bytes: None },
};

fn mark(time_ms: u64, revision: i64, written_bytes: u64) -> Record<'static> {
    Record::Mark(Mark { time_ms, revision: Revision(revision), written_bytes })
}

fn version(key: &'static str, create: i64, modified: i64, version: i64) -> Version<'static> {
    Version {
        key: key.as_bytes(),
        value: &[],
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        version,
        lease: None,
    }
}

fn leased(lease: i64, version: Version<'static>) -> Version<'static> {
    Version { lease: Some(LeaseId(lease)), ..version }
}

fn lease(id: i64, granted_ttl_seconds: i64) -> Record<'static> {
    Record::Lease { id: LeaseId(id), granted_ttl_seconds, expires_at_ms: 5 }
}

fn read(mut bytes: &[u8]) -> Result<Store, RestoreError> {
    rebuild(parts(&mut bytes))
}

/// Why a snapshot of these records is refused; the hash is checked last.
fn refusal(records: &[Record<'_>]) -> String {
    let mut bytes = Vec::new();
    let mut writer = RecordWriter::start(&mut bytes).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish(0).unwrap();
    read(&bytes).unwrap_err().to_string()
}

#[test]
fn contents_that_could_never_be_are_refused() {
    use Record::{Base, Change};
    let header = |revision, compacted, history_first_sequence| Record::Header {
        revision: Revision(revision),
        compacted: Revision(compacted),
        time_ms: 0,
        history_first_sequence,
        stripped: 0,
        sessions_opened: 2,
    };
    let session =
        |id| Record::Session { id: SessionId(id), settled_below: 5, used_at_ms: 0, client: SessionClient(1) };
    let answer = |sequence| {
        let answer = Response { revision: Revision(3), result: Ok(Outcome::Compact) };
        Record::Answer { sequence, answer }
    };
    let bytes_written = |written_bytes| Record::History {
        written_bytes,
        owed_record_quarters: 0,
        owed_bytes: 0,
        retention: Retention::default(),
    };
    let cases: [(&str, Vec<Record<'static>>); 35] = [
        ("hash", vec![HEADER]),
        (
            "hash",
            vec![HEADER, lease(1, 1), Base(version("a", 2, 2, 1)), Change(leased(1, version("a", 2, 5, 2)))],
        ),
        ("header is not first", vec![lease(1, 1)]),
        ("hash", vec![HEADER, HISTORY, mark(0, 2, 10), mark(0, 9, 50)]),
        ("number of bytes", vec![HEADER, bytes_written(u64::MAX)]),
        ("more than was written", vec![HEADER, HISTORY, mark(1, 2, 10)]),
        ("more than was written", vec![HEADER, HISTORY, mark(0, 10, 10)]),
        ("more than was written", vec![HEADER, HISTORY, mark(0, 2, 51)]),
        ("more than was written", vec![HEADER, mark(0, 2, 10), HISTORY]),
        ("marks of history are out of order", vec![HEADER, HISTORY, mark(0, 2, 10), mark(0, 2, 10)]),
        ("marks of history are out of order", vec![HEADER, HISTORY, mark(0, 2, 10), mark(0, 3, 9)]),
        ("out of order", vec![HEADER, lease(1, 1), HISTORY]),
        ("out of order", vec![HEADER, Base(version("a", 2, 2, 1)), HEADER]),
        ("second header", vec![HEADER, HEADER]),
        ("out of order", vec![HEADER, Base(version("a", 2, 2, 1)), lease(1, 1)]),
        ("revision is out of bounds", vec![header(0, 0, 0)]),
        ("revision is out of bounds", vec![header(i64::MAX, 0, 0)]),
        ("compacted beyond", vec![header(3, 4, 0)]),
        ("number of changes", vec![header(3, 2, u64::MAX)]),
        ("lease id is 0 or not unique", vec![HEADER, lease(0, 1)]),
        ("lease id is 0 or not unique", vec![HEADER, lease(1, 1), lease(1, 1)]),
        ("time to live", vec![HEADER, lease(1, 0)]),
        ("never opened", vec![HEADER, session(3)]),
        ("id is not unique", vec![HEADER, session(1), session(1)]),
        ("in no session", vec![HEADER, answer(5)]),
        ("an answer that is settled", vec![HEADER, session(1), answer(4)]),
        ("two answers", vec![HEADER, session(1), answer(5), answer(5)]),
        ("deletion is older", vec![HEADER, Base(version("a", 0, 2, 0))]),
        ("older than history is not compacted", vec![HEADER, Base(version("a", 5, 5, 1))]),
        ("two versions older", vec![HEADER, Base(version("a", 2, 2, 1)), Base(version("a", 2, 3, 2))]),
        (
            "key's changes are out of order",
            vec![HEADER, Change(version("a", 5, 5, 1)), Change(version("a", 5, 5, 1))],
        ),
        (
            "history is out of order",
            vec![HEADER, Change(version("a", 6, 6, 1)), Change(version("b", 5, 5, 1))],
        ),
        ("no revision that was", vec![HEADER, Change(version("a", 10, 10, 1))]),
        ("lease that is missing", vec![HEADER, Change(leased(1, version("a", 5, 5, 1)))]),
        ("deletion has a lease", vec![HEADER, lease(1, 1), Change(leased(1, version("a", 0, 5, 0)))]),
    ];
    for (expected, records) in cases {
        let refusal = refusal(&records);
        assert!(refusal.contains(expected), "{expected:?} expected: {refusal}");
    }
}

#[test]
fn counters_that_could_never_be_are_refused() {
    for (create, modified, number) in
        [(5, 5, 2), (5, 7, 4), (6, 5, 1), (1, 5, 1), (5, 5, -1), (5, 5, i64::MAX)]
    {
        let refusal = refusal(&[HEADER, Record::Change(version("a", create, modified, number))]);
        assert!(!refusal.contains("hash"), "{create} {modified} {number}: {refusal}");
    }
}

#[test]
fn missing_records_are_noticed() {
    let mut bytes = Vec::new();
    let mut writer = RecordWriter::start(&mut bytes).unwrap();
    writer.write(&HEADER).unwrap();
    writer.records += 1;
    writer.finish(0).unwrap();
    assert!(read(&bytes).unwrap_err().to_string().contains("records are missing"));
}

/// Gives at most so many bytes at once.
struct Dribble<'bytes>(&'bytes [u8], usize);

impl std::io::Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(buffer.len());
        std::io::Read::read(&mut self.0, &mut buffer[..count])
    }
}

#[test]
fn many_and_long_records_come_back_however_they_are_read() {
    let mut store = Store::default();
    let long = vec![b'l'; 3 << 20];
    for number in 0..5_000_u64 {
        let value = if number == 2_500 { &long[..] } else { b"short" };
        let key = number.to_be_bytes();
        store.change(|store, at| {
            let version =
                Version { key: &key, value, create_revision: at, mod_revision: at, version: 1, lease: None };
            store.append(&key, |_| version.into());
        });
    }
    let mut bytes = Vec::new();
    write(&store, &mut bytes).unwrap();
    for at_once in [1_021, 200_003, usize::MAX] {
        let mut count = 0;
        let read = rebuild(parts(&mut Dribble(&bytes, at_once)).inspect(|_| count += 1)).unwrap();
        assert_eq!(read.state_hash(), store.state_hash());
        assert_eq!((read.size_bytes(), read.live_keys()), (store.size_bytes(), store.live_keys()));
        assert_eq!(read.get(&2_500_u64.to_be_bytes()).unwrap().parts().value, long);
        assert!(count > 4, "{count} parts");
    }
}

#[test]
fn nothing_follows_an_error() {
    let mut bytes = Vec::new();
    let mut writer = RecordWriter::start(&mut bytes).unwrap();
    writer.write(&HEADER).unwrap();
    writer.write(&HEADER).unwrap();
    writer.finish(0).unwrap();
    let parts: Vec<_> = parts(&mut &bytes[..]).collect();
    assert!(matches!(parts[..], [Err(_)]), "{parts:?}");
}

/// A machine with something of every kind, of which nothing is zero.
fn full() -> KvMachine {
    let mut machine = KvMachine::default();
    let (mut index, mut time_ms) = (0, 1_000);
    let mut apply = |command| {
        (index, time_ms) = (index + 1, time_ms + 10);
        machine.apply(&Committed { index, time_ms, command }).result.unwrap();
    };
    let put = |key: u64, lease: Option<i64>| PutRequest {
        key: key.to_string().into(),
        value: "value".into(),
        lease: lease.map(LeaseId),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    };
    apply(Command::SetRetention(Retention { age_ms: Some(500), bytes: Some(100_000) }).encode());
    apply(Command::LeaseGrant { id: LeaseId(7), ttl_seconds: 50 }.encode());
    apply(Command::OpenSession { client: SessionClient(1 << 100 | 5) }.encode());
    for sequence in 3..6 {
        let place = InSession { session: SessionId(1), sequence, settled_below: 2 };
        apply(place.encode(&Command::Put(put(sequence, Some(7)))));
    }
    apply(Command::Compact { revision: Revision(4) }.encode());
    apply(Command::Put(put(3, Some(7))).encode());
    machine
}

/// How many kinds of record there are.
const KINDS: usize = 9;

fn kind(record: &Record<'_>) -> usize {
    // One more must be in the snapshot above, too.
    match record {
        Record::Header { .. } => 0,
        Record::Lease { .. } => 1,
        Record::Session { .. } => 2,
        Record::Answer { .. } => 3,
        Record::Base(_) => 4,
        Record::Change(_) => 5,
        Record::End { .. } => 6,
        Record::History { .. } => 7,
        Record::Mark(_) => 8,
    }
}

/// Whatever a snapshot says, replicas that differ in it have other hashes: a snapshot that was changed in one field is not
/// what its hash says.
#[test]
fn every_kind_of_record_is_in_a_snapshot_whose_every_byte_counts() {
    let mut bytes = Vec::new();
    write(full().view().store(), &mut bytes).unwrap();
    let mut reading = &bytes[..];
    let mut records = RecordReader::new(&mut reading);
    records.start().unwrap();
    let mut seen = [false; KINDS];
    while !seen[6] {
        seen[kind(&records.next().unwrap().0)] = true;
    }
    assert_eq!(seen, [true; KINDS]);
    for place in 0..bytes.len() {
        for mask in [0x01, 0x02, 0x10, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= mask;
            assert!(read(&changed).is_err(), "byte {place} may be {:#x}", changed[place]);
        }
    }
}
