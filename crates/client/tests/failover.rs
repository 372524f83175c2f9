//! What the client does when nodes fail, told by a server that fails on purpose.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_server::{Kv, KvServer};
use ruvector_api::etcdserverpb::watch_server::{Watch, WatchServer};
use ruvector_api::mvccpb;
use ruvector_client::{Client, ClientError, ClientOptions, GetOptions, Protocol, PutOptions, WatchOptions};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// A server that answers each call by the next line of its script, and writes down what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    shared: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// Errors to give, one a call; success when there is none left.
    errors: VecDeque<Status>,
    /// Responses of each watch stream, after which it ends; the last stays open.
    watches: VecDeque<Vec<pb::WatchResponse>>,
    /// How many calls came.
    calls: usize,
    /// Never answer a read or a put.
    silent: bool,
    /// The start revisions that watches were asked for.
    watched_from: Vec<i64>,
}

impl Scripted {
    fn with_errors(errors: impl IntoIterator<Item = Status>) -> Self {
        let script = Script { errors: errors.into_iter().collect(), ..Script::default() };
        Self { shared: Arc::new(Mutex::new(script)) }
    }

    /// Begins to serve; gives the address.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder()
            .add_service(KvServer::new(self.clone()))
            .add_service(WatchServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn calls(&self) -> usize {
        self.shared.lock().unwrap().calls
    }

    fn next<T: Default>(&self) -> Result<Response<T>, Status> {
        let mut script = self.shared.lock().unwrap();
        script.calls += 1;
        match script.errors.pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(T::default())),
        }
    }
}

#[tonic::async_trait]
impl Kv for Scripted {
    async fn range(&self, _: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        if self.shared.lock().unwrap().silent {
            std::future::pending::<()>().await;
        }
        self.next()
    }

    async fn put(&self, _: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        if self.shared.lock().unwrap().silent {
            std::future::pending::<()>().await;
        }
        self.next()
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        self.next()
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        self.next()
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.next()
    }
}

#[tonic::async_trait]
impl Watch for Scripted {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = request.into_inner().message().await?.unwrap();
        let Some(pb::watch_request::RequestUnion::CreateRequest(create)) = first.request_union else {
            return Err(Status::invalid_argument("not a watch"));
        };
        let (responses, stays_open) = {
            let mut script = self.shared.lock().unwrap();
            script.watched_from.push(create.start_revision);
            (script.watches.pop_front().unwrap_or_default(), script.watches.is_empty())
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            for response in responses {
                sender.send(Ok(response)).await.unwrap();
            }
            if stays_open {
                sender.closed().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn client(endpoints: &[&str]) -> Client {
    let options = ClientOptions {
        request_timeout: Duration::from_secs(30),
        unreachable_timeout: Duration::from_millis(200),
        retry_delay: Duration::from_millis(1),
        ..ClientOptions::default()
    };
    Client::new(endpoints.iter().copied(), options).unwrap()
}

/// An address at which nobody listens, nor any other test will.
async fn deserted() -> String {
    TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap().to_string()
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn created(revision: i64) -> pb::WatchResponse {
    pb::WatchResponse { header: header(revision), created: true, ..Default::default() }
}

fn event(key: &'static str, revision: i64) -> mvccpb::Event {
    let kv = mvccpb::KeyValue { key: key.into(), mod_revision: revision, ..Default::default() };
    mvccpb::Event { kv: Some(kv), ..Default::default() }
}

fn events(events: &[mvccpb::Event]) -> pb::WatchResponse {
    pb::WatchResponse { header: header(100), events: events.to_vec(), ..Default::default() }
}

#[tokio::test]
async fn a_write_moves_on_from_a_node_that_can_not_be_reached() {
    let server = Scripted::default();
    let client = client(&[&deserted().await, &server.serve().await]);
    client.put("a", "1", PutOptions::default()).await.unwrap();
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_write_is_repeated_when_nothing_was_applied() {
    let server = Scripted::with_errors([
        Status::unavailable("etcdserver: no leader"),
        Status::resource_exhausted("etcdserver: too many requests"),
    ]);
    client(&[&server.serve().await]).put("a", "1", PutOptions::default()).await.unwrap();
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn a_write_whose_answer_got_lost_is_not_repeated() {
    let server = Scripted::with_errors([Status::unavailable("etcdserver: request timed out")]);
    let error = client(&[&server.serve().await]).put("a", "1", PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert!(error.to_string().contains("read before writing again"), "{error}");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_write_under_way_when_its_time_is_up_is_unknown() {
    let server = Scripted::default();
    server.shared.lock().unwrap().silent = true;
    let options = ClientOptions {
        request_timeout: Duration::from_millis(300),
        protocol: Protocol::Etcd,
        ..ClientOptions::default()
    };
    let client = Client::new([server.serve().await], options).unwrap();
    let error = client.put("a", "1", PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    let error = client.get("a", GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_too_large_is_asked_for_once() {
    let too_large =
        "Error, decoded message length too large: found 70000000 bytes, the limit is: 67108864 bytes";
    let server = Scripted::with_errors([Status::out_of_range(too_large)]);
    let error = client(&[&server.serve().await]).get("a", GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_read_is_repeated_whatever_happened() {
    let server = Scripted::with_errors([
        Status::unavailable("etcdserver: request timed out"),
        Status::unknown("transport error"),
        Status::unavailable("etcdserver: no leader"),
    ]);
    client(&[&server.serve().await]).get("a", GetOptions::default()).await.unwrap();
    assert_eq!(server.calls(), 4);
}

#[tokio::test]
async fn a_read_moves_on_from_a_node_that_hangs() {
    let (hung, server) = (Scripted::default(), Scripted::default());
    hung.shared.lock().unwrap().silent = true;
    let options = ClientOptions { request_timeout: Duration::from_secs(8), ..ClientOptions::default() };
    let client = Client::new([hung.serve().await, server.serve().await], options).unwrap();
    client.get("a", GetOptions::default()).await.unwrap();
    assert_eq!((hung.calls(), server.calls()), (0, 1));
}

#[tokio::test]
async fn a_refusal_is_given_at_once() {
    let server = Scripted::with_errors([Status::out_of_range(
        "etcdserver: mvcc: required revision has been compacted",
    )]);
    let error = client(&[&server.serve().await]).get("a", GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Compacted { .. }), "{error:?}");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn every_endpoint_is_named_when_none_can_be_reached() {
    let (one, other) = (deserted().await, deserted().await);
    let error = client(&[&one, &other]).put("a", "1", PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&one) && text.contains(&other) && text.contains("connection refused"), "{text}");
}

#[tokio::test]
async fn a_watch_resumes_after_the_last_revision_it_reported() {
    let server = Scripted::default();
    server.shared.lock().unwrap().watches = VecDeque::from([
        vec![created(4), events(&[event("a", 5), event("b", 6)])],
        // Reports progress only, and is lost again.
        vec![created(9), pb::WatchResponse { header: header(9), ..Default::default() }],
        vec![created(9), events(&[event("c", 12)])],
    ]);
    let client = client(&[&server.serve().await]);
    let mut watch = client.watch("a", WatchOptions::default()).await.unwrap();

    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.events.len()), (6, 2));
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.events[0].key_value.key.as_ref()), (12, &b"c"[..]));
    assert_eq!(server.shared.lock().unwrap().watched_from, [0, 7, 10]);
}

#[tokio::test]
async fn a_watch_that_is_lost_before_its_first_event_misses_nothing() {
    let server = Scripted::default();
    server.shared.lock().unwrap().watches =
        VecDeque::from([vec![created(4)], vec![created(8), events(&[event("a", 5)])]]);
    let mut watch = client(&[&server.serve().await]).watch("a", WatchOptions::default()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, 5);
    assert_eq!(server.shared.lock().unwrap().watched_from, [0, 5]);
}

#[tokio::test]
async fn a_revision_that_comes_in_pieces_is_given_as_one() {
    let piece = |event| pb::WatchResponse { fragment: true, ..events(&[event]) };
    let server = Scripted::default();
    server.shared.lock().unwrap().watches = VecDeque::from([
        // Half of a revision, and the connection is gone: the half is forgotten, since it comes again.
        vec![created(4), piece(event("a", 5))],
        vec![created(5), piece(event("a", 5)), piece(event("b", 5)), events(&[event("c", 5)])],
    ]);
    let mut watch = client(&[&server.serve().await]).watch("a", WatchOptions::default()).await.unwrap();
    let batch = watch.next().await.unwrap();
    let keys: Vec<&[u8]> = batch.events.iter().map(|event| event.key_value.key.as_ref()).collect();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    assert_eq!(server.shared.lock().unwrap().watched_from, [0, 5]);
}

#[tokio::test]
async fn a_watch_whose_history_was_dropped_says_so() {
    let refusal = pb::WatchResponse { canceled: true, compact_revision: 7, ..Default::default() };
    let server = Scripted::default();
    server.shared.lock().unwrap().watches = VecDeque::from([vec![created(4), refusal]]);
    let mut watch = client(&[&server.serve().await]).watch("a", WatchOptions::default()).await.unwrap();
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Compacted { oldest: Some(7), .. }), "{error:?}");
}
