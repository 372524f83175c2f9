//! What clients send on a native stream: frames as protobuf of any bytes, and frames that make sense, sorted, done and
//! answered as the server does it, on a store that is sometimes restored from its snapshot.
//!
//! What must hold: no panic; a frame that can't be decoded ends the stream and changes nothing; of every other frame
//! each request gets one answer, under its number, and none is refused as the server's own fault; a write that comes
//! again in its session changes nothing and gets the first answer, as long as the client has not said that it has it,
//! and is refused afterwards; a refused one makes no revision; answers can be decoded again; and memory is within
//! bounds.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use ruvector_api::etcdserverpb::request_op::Request as Operation;
use ruvector_api::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use ruvector_api::ruvector::v1::{
    ClientFrame, NativeRequest, NativeResponse, OpenSessionRequest, ServerFrame,
};
use ruvector_fuzz::{byte, piece, within_memory};
use ruvector_server::fuzzing::{Store, Written};
use tonic::Code;

/// A transaction may read everything as often as it has operations, and its answer is remembered.
const MEMORY_FIXED_BYTES: usize = 64 << 20;
const MEMORY_FACTOR: usize = 8_000;
/// Few, so that they meet again.
const SESSIONS: u8 = 4;
const NUMBERS: u8 = 16;
const KEYS: u8 = 4;

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut store = Store::default();
    let mut sessions = Sessions::default();
    while !input.is_empty() {
        let kind = byte(&mut input);
        store.pass_ms(u64::from(kind >> 4).pow(4));
        let frame = match kind % 8 {
            0 => {
                store.restart();
                continue;
            }
            1..4 => match ClientFrame::decode(Bytes::copy_from_slice(piece(&mut input))) {
                Ok(frame) => frame,
                // As the stream does.
                Err(_) => return,
            },
            _ => frame_that_makes_sense(&mut input),
        };
        exchange(&mut store, &mut sessions, frame);
    }
}

fn exchange(store: &mut Store, sessions: &mut Sessions, frame: ClientFrame) {
    let mut asked: Vec<u64> = frame.requests.iter().map(|request| request.number).collect();
    let (session, settled_below) = (frame.session, frame.settled_below);
    let exchanged = store.exchange(frame);
    for written in &exchanged.writes {
        sessions.check(session, settled_below, written);
    }
    let writes = exchanged.writes.into_iter().map(|written| written.response);
    let responses: Vec<NativeResponse> = writes.chain(exchanged.reads).chain(exchanged.refused).collect();

    let mut answered: Vec<u64> = responses.iter().map(|response| response.number).collect();
    asked.sort_unstable();
    answered.sort_unstable();
    assert_eq!(answered, asked, "not every request has one answer");
    for response in &responses {
        let code = failure_code(response);
        let is_defect = matches!(code, Some(Code::Internal | Code::Unknown)) || response.response.is_none();
        assert!(!is_defect, "refused as a defect: {response:?}");
    }
    let frame = ServerFrame { responses, place: None };
    let again = ServerFrame::decode(&frame.encode_to_vec()[..]);
    assert!(again.is_ok_and(|again| again == frame), "answers are decoded as something else");
}

/// What sessions must remember, kept in the simplest way.
#[derive(Default)]
struct Sessions(BTreeMap<u64, Session>);

#[derive(Default)]
struct Session {
    settled_below: u64,
    answers: BTreeMap<u64, NativeResponse>,
}

impl Sessions {
    /// A write was answered.
    fn check(&mut self, session: u64, settled_below: u64, written: &Written) {
        let Written { response, before, after } = written;
        if let Some(Response::OpenSession(opened)) = &response.response {
            assert!(self.0.insert(opened.session, Session::default()).is_none(), "{opened:?} again");
            return;
        }
        let unchanged = |why: &str| assert_eq!(before, after, "{why} makes a revision: {response:?}");
        let code = failure_code(response);
        let Some(session) = self.0.get_mut(&session) else {
            unchanged("a write in no session");
            return assert_eq!(code, Some(Code::Aborted), "in no session: {response:?}");
        };
        session.settled_below = session.settled_below.max(settled_below);
        session.answers = session.answers.split_off(&session.settled_below);
        if let Some(first) = session.answers.get(&response.number) {
            unchanged("a write that comes again");
            assert_eq!(response, first, "a write that comes again is answered otherwise");
        } else if response.number < session.settled_below {
            unchanged("a write that is settled");
            assert_eq!(code, Some(Code::FailedPrecondition), "of what is settled: {response:?}");
        } else {
            if code.is_some() {
                unchanged("a refused write");
            }
            // A full session remembers no more.
            if code != Some(Code::ResourceExhausted) {
                session.answers.insert(response.number, response.clone());
            }
        }
    }
}

fn failure_code(response: &NativeResponse) -> Option<Code> {
    match &response.response {
        Some(Response::Failure(failure)) => Some(Code::from_i32(failure.code)),
        Some(
            Response::Put(_)
            | Response::Range(_)
            | Response::DeleteRange(_)
            | Response::Txn(_)
            | Response::Compaction(_)
            | Response::OpenSession(_),
        )
        | None => None,
    }
}

/// A frame with a few requests of sessions that there may be, under numbers that may have been used.
fn frame_that_makes_sense(input: &mut Unstructured<'_>) -> ClientFrame {
    let session = u64::from(byte(input) % SESSIONS);
    let settled_below = u64::from(byte(input) % NUMBERS);
    let count = byte(input) % 8;
    let request = |_| NativeRequest { number: u64::from(byte(input) % NUMBERS), request: request(input) };
    ClientFrame { requests: (0..count).map(request).collect(), session, settled_below }
}

fn request(input: &mut Unstructured<'_>) -> Option<Request> {
    let kind = byte(input);
    let prev_kv = kind & 16 != 0;
    Some(match kind % 8 {
        0 => return None,
        1 => Request::OpenSession(OpenSessionRequest {}),
        2 => Request::Range(RangeRequest { key: key(input), serializable: prev_kv, ..Default::default() }),
        3 => Request::DeleteRange(DeleteRangeRequest { prev_kv, ..delete(input) }),
        4 => Request::Compaction(CompactionRequest { revision: i64::from(byte(input)), physical: false }),
        5 => Request::Txn(TxnRequest {
            success: vec![operation(Operation::RequestPut(put(input, prev_kv)))],
            ..Default::default()
        }),
        _ => Request::Put(put(input, prev_kv)),
    })
}

fn put(input: &mut Unstructured<'_>, prev_kv: bool) -> PutRequest {
    let value = Bytes::copy_from_slice(piece(input));
    PutRequest { key: key(input), value, prev_kv, ..Default::default() }
}

fn delete(input: &mut Unstructured<'_>) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key(input), ..Default::default() }
}

fn operation(operation: Operation) -> RequestOp {
    RequestOp { request: Some(operation) }
}

fn key(input: &mut Unstructured<'_>) -> Bytes {
    Bytes::copy_from_slice(&[b'a' + byte(input) % KEYS])
}
