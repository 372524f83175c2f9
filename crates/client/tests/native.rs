//! What the client's native protocol does when nodes fail or another leads, told by servers that do so on purpose.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ruvector_api::etcdserverpb::{PutResponse, RangeResponse, TxnResponse};
use ruvector_api::mvccpb::KeyValue;
use ruvector_api::ruvector::v1::native_request::Request as Asked;
use ruvector_api::ruvector::v1::native_response::Response as Answer;
use ruvector_api::ruvector::v1::native_server::{Native, NativeServer};
use ruvector_api::ruvector::v1::{
    ClientFrame, Member, NativeRequest, NativeResponse, OpenSessionResponse, Place, ServerFrame,
};
use ruvector_client::{
    Client, ClientError, ClientOptions, GetOptions, KeyRange, Operation, PutOptions, Transaction,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// A node that says who leads and answers everything, reads with a value of some size, or ends every stream at once.
#[derive(Clone)]
struct Node {
    id: u64,
    leader: Option<Member>,
    ends_streams: bool,
    value_bytes: usize,
    streams: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl Node {
    fn new(id: u64) -> Self {
        let (streams, answered) = Default::default();
        Self { id, leader: None, ends_streams: false, value_bytes: 0, streams, answered }
    }

    /// Begins to serve; gives the address.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder().add_service(NativeServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn answer(&self, request: NativeRequest) -> NativeResponse {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let response = match request.request.unwrap() {
            Asked::OpenSession(_) => Answer::OpenSession(OpenSessionResponse { session: 1 }),
            Asked::Put(_) => Answer::Put(PutResponse::default()),
            Asked::Txn(_) => Answer::Txn(TxnResponse::default()),
            Asked::Range(_) | Asked::DeleteRange(_) | Asked::Compaction(_) => {
                let value = vec![0; self.value_bytes].into();
                Answer::Range(RangeResponse {
                    kvs: vec![KeyValue { value, ..Default::default() }],
                    ..Default::default()
                })
            }
        };
        NativeResponse { number: request.number, revision: 2, response: Some(response) }
    }
}

#[tonic::async_trait]
impl Native for Node {
    type ExchangeStream = ReceiverStream<Result<ServerFrame, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ClientFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(16);
        let leader = self.leader.clone();
        let place = Place {
            node_id: self.id,
            leader,
            requests_max: 16,
            frame_bytes_max: 1 << 20,
            ..Place::default()
        };
        sender.send(Ok(ServerFrame { responses: vec![], place: Some(place) })).await.unwrap();
        let (node, mut frames) = (self.clone(), request.into_inner());
        if !self.ends_streams {
            tokio::spawn(async move {
                while let Ok(Some(frame)) = frames.message().await {
                    let responses = frame.requests.into_iter().map(|request| node.answer(request)).collect();
                    if sender.send(Ok(ServerFrame { responses, place: None })).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tokio::test]
async fn the_stream_moves_to_the_leader_if_that_is_one_of_the_endpoints() {
    let leader = Node::new(2);
    let address = leader.serve().await;
    let member = Member { node_id: 2, client_address: Some(address.clone()), ..Member::default() };
    let follower = Node { leader: Some(member), ..Node::new(1) };
    let endpoints = [follower.serve().await, address];
    let client = Client::new(endpoints.iter().map(String::as_str), ClientOptions::default()).unwrap();
    let put = client.put("key", "value", PutOptions::default()).await.unwrap();
    let got = client.get(KeyRange::One("key".into()), GetOptions::default()).await.unwrap();
    assert_eq!((put.revision, got.revision), (2, 2), "told once for all answers");
    let count = |node: &Node| node.answered.load(Ordering::Relaxed);
    assert_eq!((count(&follower), count(&leader)), (0, 3), "the session, the put and the get");

    let client = Client::new([endpoints[0].as_str()], ClientOptions::default()).unwrap();
    client.put("key", "value", PutOptions::default()).await.unwrap();
    assert_eq!((count(&follower), count(&leader)), (2, 3), "the leader's address was not given");
}

#[tokio::test]
async fn nodes_that_end_every_stream_are_not_stormed() {
    let nodes = [1, 2, 3].map(|id| Node { ends_streams: true, ..Node::new(id) });
    let mut endpoints = Vec::new();
    for node in &nodes {
        endpoints.push(node.serve().await);
    }
    let options = ClientOptions { request_timeout: Duration::from_secs(2), ..ClientOptions::default() };
    let client = Client::new(endpoints.iter().map(String::as_str), options).unwrap();
    let failed = client.put("key", "value", PutOptions::default()).await.unwrap_err();
    assert!(!matches!(failed, ClientError::Refused { .. }), "{failed}");
    let streams: usize = nodes.iter().map(|node| node.streams.load(Ordering::Relaxed)).sum();
    assert!((3..100).contains(&streams), "{streams} streams");
}

/// It was asked for 54 times in ten seconds, and then said to have come too late.
#[tokio::test]
async fn an_answer_that_is_too_large_is_asked_for_once() {
    let node = Node { value_bytes: 65 << 20, ..Node::new(1) };
    let client = Client::new([node.serve().await], ClientOptions::default()).unwrap();
    let error = client.get("key", GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
    assert_eq!(node.answered.load(Ordering::Relaxed), 1);
}

/// In a session it is done once, however often it is sent.
#[tokio::test]
async fn a_transaction_that_may_write_in_either_branch_is_a_write() {
    let get = || vec![Operation::Get("key".into(), GetOptions::default())];
    let put = || vec![Operation::Put("key".into(), "value".into(), PutOptions::default())];
    for (then, otherwise, asked) in [(get(), get(), 1), (put(), get(), 2), (get(), put(), 2)] {
        let node = Node::new(1);
        let client = Client::new([node.serve().await], ClientOptions::default()).unwrap();
        client.transact(Transaction { comparisons: vec![], then, otherwise }).await.unwrap();
        assert_eq!(node.answered.load(Ordering::Relaxed), asked, "a session is opened for writes only");
    }
}
