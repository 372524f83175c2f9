//! What the tests share: a machine on its own log, short ways to write requests, and a dump of all answers.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_state_machine::kv::*;
use ruvector_state_machine::{Committed, StateMachine};

/// A machine with the log that feeds it.
#[derive(Default)]
pub(crate) struct Fixture {
    pub(crate) machine: KvMachine,
    pub(crate) index: u64,
    pub(crate) time_ms: u64,
    pub(crate) limits: StoreLimits,
}

impl Fixture {
    pub(crate) fn with_limits(limits: StoreLimits) -> Self {
        Self { machine: KvMachine::default().with_limits(limits), limits, ..Self::default() }
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Response {
        self.apply_bytes(command.encode())
    }

    pub(crate) fn apply_bytes(&mut self, command: Bytes) -> Response {
        self.index += 1;
        self.machine.apply(&Committed { index: self.index, time_ms: self.time_ms, command })
    }

    /// Applies a command that must succeed.
    pub(crate) fn run(&mut self, command: &Command) -> Outcome {
        self.apply(command).result.unwrap()
    }

    /// Applies a command that must be refused and change nothing.
    pub(crate) fn refuse(&mut self, command: &Command) -> KvError {
        let before = dump(&self.machine.view());
        let error = self.apply(command).result.unwrap_err();
        assert_eq!(dump(&self.machine.view()), before, "{error} changed something");
        error
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> Revision {
        self.apply(&Command::Put(put(key, value))).revision
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) -> DeleteResponse {
        let outcome = self.run(&Command::Delete(delete(key, range_end)));
        let Outcome::Delete(response) = outcome else { panic!("{outcome:?}") };
        response
    }

    pub(crate) fn txn(&mut self, txn: TxnRequest) -> TxnResponse {
        let outcome = self.run(&Command::Txn(txn));
        let Outcome::Txn(response) = outcome else { panic!("{outcome:?}") };
        response
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<Outcome, KvError> {
        self.apply(&Command::Compact { revision: Revision(revision) }).result
    }

    pub(crate) fn open_session(&mut self, client: u128) -> Result<SessionId, KvError> {
        let outcome = self.apply(&Command::OpenSession { client: SessionClient(client) }).result?;
        let Outcome::SessionOpened(session) = outcome else { panic!("{outcome:?}") };
        Ok(session)
    }

    pub(crate) fn grant(&mut self, id: i64, ttl_seconds: i64) -> Outcome {
        self.run(&Command::LeaseGrant { id: LeaseId(id), ttl_seconds })
    }

    pub(crate) fn advance_time(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
        self.index += 1;
        self.machine.advance_time(self.index, time_ms);
    }

    pub(crate) fn view(&self) -> KvView {
        self.machine.view()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<KeyValue>> {
        self.view().range(&get(key)).unwrap().kvs.pop()
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> RangeResponse {
        self.view().range(request).unwrap()
    }
}

/// The same machine, from a snapshot.
pub(crate) fn restored(fixture: &Fixture) -> Fixture {
    let mut snapshot = Vec::new();
    KvMachine::write_snapshot(&fixture.view(), &mut snapshot).unwrap();
    let mut machine = KvMachine::default().with_limits(fixture.limits);
    machine.restore(&mut &snapshot[..]).unwrap();
    Fixture { machine, ..*fixture }
}

pub(crate) fn key_range(key: &str, range_end: &str) -> KeyRange {
    KeyRange { key: Bytes::from(key.to_owned()), range_end: Bytes::from(range_end.to_owned()) }
}

pub(crate) fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest::of(key_range(key, range_end))
}

pub(crate) fn get(key: &str) -> RangeRequest {
    range(key, "")
}

pub(crate) fn everything() -> RangeRequest {
    range("", "\0")
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(value.to_owned()),
        lease: None,
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    }
}

pub(crate) fn put_with_lease(key: &str, value: &str, lease: i64) -> Command {
    Command::Put(PutRequest { lease: Some(LeaseId(lease)), ..put(key, value) })
}

pub(crate) fn delete(key: &str, range_end: &str) -> DeleteRequest {
    DeleteRequest { range: key_range(key, range_end), prev_kv: true }
}

pub(crate) fn compare(key: &str, operator: CompareOperator, target: CompareTarget) -> Compare {
    Compare { range: key_range(key, ""), target, operator }
}

pub(crate) fn txn(compare: Vec<Compare>, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

pub(crate) fn always(success: Vec<TxnOp>) -> TxnRequest {
    txn(vec![], success, vec![])
}

pub(crate) fn key_value(key: &str, value: &str, create: i64, modified: i64, version: i64) -> Arc<KeyValue> {
    Arc::new(KeyValue {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(value.to_owned()),
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        version,
        lease: None,
    })
}

pub(crate) fn keys_of(response: &RangeResponse) -> Vec<&str> {
    response.kvs.iter().map(|kv| std::str::from_utf8(&kv.key).unwrap()).collect()
}

/// Everything that a view can be asked.
#[derive(Debug, PartialEq)]
pub(crate) struct Dump {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) time_ms: u64,
    pub(crate) key_count: usize,
    /// All keys at the revisions from 1 to one too many.
    pub(crate) keys_at: Vec<Result<RangeResponse, KvError>>,
    /// The changes from each revision on.
    pub(crate) events_from: Vec<Result<Vec<Event>, KvError>>,
    pub(crate) leases: Vec<LeaseInfo>,
}

pub(crate) fn dump(view: &KvView) -> Dump {
    let revision = view.revision();
    let revisions = || (1..=revision.0 + 1).map(Revision);
    Dump {
        revision,
        compacted: view.compacted(),
        time_ms: view.time_ms(),
        key_count: view.key_count(),
        keys_at: revisions()
            .map(|at| view.range(&RangeRequest { revision: Some(at), ..everything() }))
            .collect(),
        events_from: revisions().map(|from| view.events(from, revision).map(Iterator::collect)).collect(),
        leases: {
            let mut ids = view.leases();
            ids.sort();
            ids.into_iter().map(|id| view.lease(id).unwrap()).collect()
        },
    }
}
