//! Snapshots made by hand, of contents that could never be.
#![allow(clippy::unwrap_used)]

use super::super::command::{LeaseId, Outcome, Response, Revision};
use super::super::session::SessionId;
use super::super::stored::Version;
use super::*;
use crate::machine::RestoreError;

const HEADER: Record<'static> = Record::Header {
    revision: Revision(9),
    compacted: Revision(4),
    time_ms: 0,
    history_first_sequence: 3,
    stripped: 0,
    sessions_opened: 2,
};

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
    let session = |id| Record::Session { id: SessionId(id), settled_below: 5, used_at_ms: 0 };
    let answer = |sequence| {
        let answer = Response { revision: Revision(3), result: Ok(Outcome::Compact) };
        Record::Answer { sequence, answer }
    };
    let cases: [(&str, Vec<Record<'static>>); 26] = [
        ("hash", vec![HEADER]),
        (
            "hash",
            vec![HEADER, lease(1, 1), Base(version("a", 2, 2, 1)), Change(leased(1, version("a", 2, 5, 2)))],
        ),
        ("header is not first", vec![lease(1, 1)]),
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
