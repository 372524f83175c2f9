//! The native protocol, frame by frame.

use std::collections::BTreeMap;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::ruvector::v1::native_client::NativeClient;
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use ruvector_api::ruvector::v1::{
    ClientFrame, NativeRequest, NativeResponse, OpenSessionRequest, Place, ServerFrame,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::harness::*;

/// One stream.
pub(crate) struct Native {
    frames: mpsc::Sender<ClientFrame>,
    answers: Streaming<ServerFrame>,
    place: Place,
    session: u64,
}

impl Native {
    /// A stream without a session.
    pub(crate) async fn open(server: &TestServer) -> Self {
        let (frames, receiver) = mpsc::channel(16);
        let mut client = NativeClient::new(server.channel()).max_decoding_message_size(64 << 20);
        let mut answers = client.exchange(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let first = answers.message().await.unwrap().unwrap();
        assert!(first.responses.is_empty());
        Self { frames, answers, place: first.place.unwrap(), session: 0 }
    }

    /// A stream with a session.
    pub(crate) async fn with_session(server: &TestServer) -> Self {
        let mut native = Self::open(server).await;
        let opened = native.ask(1, Request::OpenSession(OpenSessionRequest {})).await;
        let Some(Response::OpenSession(opened)) = opened.response else { panic!("{opened:?}") };
        native.session = opened.session;
        native
    }

    async fn send(&self, settled_below: u64, requests: impl IntoIterator<Item = (u64, Request)>) {
        let requests = requests.into_iter();
        let requests = requests.map(|(number, request)| NativeRequest { number, request: Some(request) });
        let frame = ClientFrame { requests: requests.collect(), session: self.session, settled_below };
        self.frames.send(frame).await.unwrap();
    }

    /// The next answers, by number.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, NativeResponse> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let frame = timeout(PATIENCE, self.answers.message()).await.unwrap().unwrap().unwrap();
            answers.extend(frame.responses.into_iter().map(|response| (response.number, response)));
        }
        answers
    }

    pub(crate) async fn ask(&mut self, number: u64, request: Request) -> NativeResponse {
        self.send(0, [(number, request)]).await;
        self.answers(1).await.remove(&number).unwrap()
    }

    async fn refused(&mut self, number: u64, request: Request) -> (Code, String) {
        let answer = self.ask(number, request).await;
        let Some(Response::Failure(failure)) = answer.response else { panic!("{answer:?}") };
        (Code::from_i32(failure.code), failure.message)
    }
}

pub(crate) fn put(key: &str, value: &str) -> Request {
    Request::Put(pb::PutRequest { prev_kv: true, ..put_request(key, value) })
}

pub(crate) fn get(key: &str) -> Request {
    Request::Range(pb::RangeRequest { key: bytes(key), ..Default::default() })
}

pub(crate) fn value(answer: &NativeResponse) -> Option<String> {
    let Some(Response::Range(range)) = &answer.response else { panic!("{answer:?}") };
    range.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

#[tokio::test]
async fn a_client_is_told_where_it_is_and_who_leads() {
    let server = TestServer::start().await;
    let place = Native::open(&server).await.place;
    assert_eq!(place.node_name, "node-1");
    let leader = place.leader.unwrap();
    assert_eq!(leader.node_id, place.node_id);
    assert_eq!(leader.client_address, Some(server.address().to_string()));
    assert!(place.requests_max > 0);
}

#[tokio::test]
async fn every_request_is_answered_under_its_number() {
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    native.send(0, (2..1002).map(|number| (number, put(&format!("key-{number}"), "value")))).await;
    let answers = native.answers(1000).await;
    let revisions: std::collections::BTreeSet<i64> = answers.values().map(|answer| answer.revision).collect();
    assert_eq!(revisions.len(), 1000);
    native.send(1002, (2000..3000).map(|number| (number, get(&format!("key-{}", number - 1998))))).await;
    for (number, answer) in native.answers(1000).await {
        assert_eq!(value(&answer).as_deref(), Some("value"), "{number}");
    }
}

#[tokio::test]
async fn all_kinds_of_request_are_done() {
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    native.ask(2, put("a", "one")).await;
    let compare = pb::Compare { key: bytes("a"), ..Default::default() };
    let read = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestRange(pb::RangeRequest {
            key: bytes("a"),
            ..Default::default()
        })),
    };
    let txn = pb::TxnRequest { compare: vec![compare], success: vec![], failure: vec![read] };
    let answer = native.ask(3, Request::Txn(txn)).await;
    let Some(Response::Txn(txn)) = answer.response else { panic!("{answer:?}") };
    assert!(!txn.succeeded && txn.header.is_none());
    let delete = pb::DeleteRangeRequest { key: bytes("a"), range_end: bytes("b"), prev_kv: true };
    let answer = native.ask(4, Request::DeleteRange(delete)).await;
    let Some(Response::DeleteRange(deleted)) = &answer.response else { panic!("{answer:?}") };
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (1, 1));
    let compaction = pb::CompactionRequest { revision: answer.revision, physical: false };
    let answer = native.ask(5, Request::Compaction(compaction)).await;
    assert!(matches!(answer.response, Some(Response::Compaction(_))), "{answer:?}");
    let mut old = pb::RangeRequest { key: bytes("a"), revision: 2, ..Default::default() };
    let (code, message) = native.refused(6, Request::Range(old.clone())).await;
    assert_eq!((code, message.contains("compacted")), (Code::OutOfRange, true), "{message}");
    (old.revision, old.serializable) = (0, true);
    assert_eq!(value(&native.ask(7, Request::Range(old)).await), None);
}

#[tokio::test]
async fn a_write_that_is_sent_again_gets_the_first_answer_on_any_stream() {
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    let first = native.ask(2, put("key", "one")).await;
    let second = native.ask(3, put("key", "two")).await;
    let mut other = Native::open(&server).await;
    other.session = native.session;
    assert_eq!(other.ask(2, put("key", "one")).await, first);
    assert_eq!(other.ask(3, put("key", "two")).await, second);
    assert_eq!(value(&other.ask(4, get("key")).await).as_deref(), Some("two"));
    other.send(4, [(5, put("key", "three"))]).await;
    other.answers(1).await;
    let (code, message) = native.refused(3, put("key", "two")).await;
    assert_eq!((code, message.contains("settled")), (Code::FailedPrecondition, true), "{message}");
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_and_the_stream_goes_on() {
    let server = TestServer::start().await;
    let mut native = Native::open(&server).await;
    let (code, message) = native.refused(1, put("key", "value")).await;
    assert_eq!((code, message.contains("session")), (Code::FailedPrecondition, true), "{message}");
    native.session = 77;
    let (code, _) = native.refused(2, put("key", "value")).await;
    assert_eq!(code, Code::Aborted);
    let (code, _) = native.refused(3, put("", "value")).await;
    assert_eq!(code, Code::InvalidArgument);
    let unknown =
        ClientFrame { requests: vec![NativeRequest { number: 4, request: None }], ..Default::default() };
    native.frames.send(unknown).await.unwrap();
    let answer = native.answers(1).await.remove(&4).unwrap();
    assert!(matches!(answer.response, Some(Response::Failure(_))), "{answer:?}");
    let too_large = "x".repeat(1_700_000);
    native.session = 1;
    let (code, message) = native.refused(5, put("key", &too_large)).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert_eq!(value(&native.ask(6, get("key")).await), None);
}

/// One host is one client, whatever connections it has.
#[tokio::test]
async fn a_host_that_opens_many_sessions_is_refused_more_and_can_use_those_it_has() {
    let server = TestServer::start().await;
    let mut first = Native::with_session(&server).await;
    let mut many = Native::open(&server).await;
    let mut opened = 1;
    let (code, message) = loop {
        let openings = (1..=500).map(|number| (number, Request::OpenSession(OpenSessionRequest {})));
        many.send(0, openings).await;
        let answers: Vec<Response> =
            many.answers(500).await.into_values().map(|answer| answer.response.unwrap()).collect();
        opened += answers.iter().filter(|answer| matches!(answer, Response::OpenSession(_))).count();
        if let Some(Response::Failure(failure)) = answers.last() {
            break (Code::from_i32(failure.code), failure.message.clone());
        }
    };
    assert_eq!(opened, 1_000);
    assert_eq!((code, message.contains("1000 sessions")), (Code::ResourceExhausted, true), "{message}");
    let put = first.ask(2, put("key", "value")).await;
    assert!(matches!(put.response, Some(Response::Put(_))), "{put:?}");
}

/// A client that asks for much and reads nothing is not read any more, and what it gets in the end is complete.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_waits_and_loses_nothing() {
    const FRAMES: u64 = 200;
    const READS: u64 = 50;
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    native.ask(2, put("key", &"x".repeat(100_000))).await;
    let frames = native.frames.clone();
    let sending = tokio::spawn(async move {
        for frame in 0..FRAMES {
            let first = 10 + frame * READS;
            let requests =
                (first..first + READS).map(|number| NativeRequest { number, request: Some(get("key")) });
            frames.send(ClientFrame { requests: requests.collect(), ..Default::default() }).await.unwrap();
        }
    });
    // A gigabyte of answers is not made before it is wanted: other clients are served meanwhile.
    for _ in 0..20 {
        server.put("other", "value").await;
    }
    let answers = native.answers(usize::try_from(FRAMES * READS).unwrap()).await;
    assert!(answers.values().all(|answer| value(answer).is_some_and(|value| value.len() == 100_000)));
    sending.await.unwrap();
}

/// Of writes whose answers nobody takes so many are done as the window has room for, and what is on its way to the client.
#[tokio::test]
async fn a_client_that_writes_and_does_not_read_its_answers_waits_and_loses_nothing() {
    const VALUE_BYTES: usize = 64 << 10;
    const WINDOW_BYTES: usize = 8 << 20;
    const WRITES: usize = 1_500;
    const UNREAD_MAX: usize = 4 * WINDOW_BYTES / VALUE_BYTES;
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    let (frames, session) = (native.frames.clone(), native.session);
    let sending = tokio::spawn(async move {
        let value = "x".repeat(VALUE_BYTES);
        for number in 2..WRITES as u64 + 2 {
            let requests = vec![NativeRequest { number, request: Some(put("key", &value)) }];
            // Nothing of what was answered before is to be remembered: that has a bound of its own.
            frames.send(ClientFrame { requests, session, settled_below: number }).await.unwrap();
        }
    });
    let (mut done, mut quiet) = (0, 0);
    while quiet < 100 && done < WRITES {
        server.put("other", "value").await;
        let request = pb::RangeRequest { key: bytes("key"), ..Default::default() };
        let found = server.kv().range(request).await.unwrap().into_inner().kvs.pop();
        let now = found.map_or(0, |kv| usize::try_from(kv.version).unwrap());
        quiet = if now == done && now > 0 { quiet + 1 } else { 0 };
        done = now;
    }
    assert!(done <= UNREAD_MAX, "{done} writes were done of which no answer was taken");
    let answers = native.answers(WRITES).await;
    assert!(answers.values().all(|answer| matches!(answer.response, Some(Response::Put(_)))));
    sending.await.unwrap();
}

#[tokio::test]
async fn a_frame_that_can_not_be_read_ends_the_stream_with_the_reason_when_all_before_is_answered() {
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    native.send(0, [(2, put("before", "1"))]).await;
    native.send(0, [(3, put("large", &"x".repeat(8 << 20)))]).await;
    assert_eq!(native.answers(1).await.into_keys().collect::<Vec<_>>(), [2]);
    let ended = timeout(PATIENCE, native.answers.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_stream_ends_when_its_client_has_sent_everything_and_has_all_answers() {
    let server = TestServer::start().await;
    let mut native = Native::with_session(&server).await;
    native.send(0, [(2, put("key", "value")), (3, get("key"))]).await;
    let (closed, _) = mpsc::channel(1);
    native.frames = closed;
    assert_eq!(native.answers(2).await.len(), 2);
    assert!(timeout(PATIENCE, native.answers.message()).await.unwrap().unwrap().is_none());
}
