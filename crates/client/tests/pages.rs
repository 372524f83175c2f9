//! Ranges that are read in pages, from a server that changes meanwhile and writes down what it was asked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_server::{Kv, KvServer};
use ruvector_api::mvccpb;
use ruvector_client::{Client, ClientOptions, GetAnswer, GetOptions, KeyRange, KeyValue, Pages, Protocol};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What it holds at revision 7; a later revision holds one key more at the end of every range.
const REVISION: i64 = 7;

#[derive(Clone, Default)]
struct Store {
    values: Arc<BTreeMap<Bytes, usize>>,
    asked: Arc<Mutex<Vec<pb::RangeRequest>>>,
}

impl Store {
    /// Keys `k0000`, `k0001`, … with values of these sizes.
    fn with(sizes: impl IntoIterator<Item = usize>) -> Self {
        let named = |(number, bytes): (usize, usize)| (Bytes::from(format!("k{number:04}")), bytes);
        let values = sizes.into_iter().enumerate().map(named).collect();
        Self { values: Arc::new(values), ..Self::default() }
    }

    async fn client(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder().add_service(KvServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let options = ClientOptions { protocol: Protocol::Etcd, ..ClientOptions::default() };
        Client::new([address], options).unwrap()
    }

    /// The limits and revisions that it was asked for.
    fn asked(&self) -> Vec<(i64, i64)> {
        self.asked.lock().unwrap().iter().map(|asked| (asked.limit, asked.revision)).collect()
    }
}

#[tonic::async_trait]
impl Kv for Store {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let asked = request.into_inner();
        self.asked.lock().unwrap().push(asked.clone());
        let is_inside =
            |key: &Bytes| *key >= asked.key && (asked.range_end.as_ref() == [0] || *key < asked.range_end);
        let mut held: Vec<(Bytes, usize)> = self
            .values
            .iter()
            .filter(|(key, _)| is_inside(key))
            .map(|(key, bytes)| (key.clone(), *bytes))
            .collect();
        let count = held.len() as i64;
        let now = REVISION + self.asked.lock().unwrap().len() as i64 - 1;
        if asked.revision != REVISION && now > REVISION {
            held.push((Bytes::from("later"), 1));
        }
        let more = asked.limit > 0 && held.len() as i64 > asked.limit;
        if asked.limit > 0 {
            held.truncate(asked.limit as usize);
        }
        let kv = |(key, bytes)| mvccpb::KeyValue { key, value: vec![1; bytes].into(), ..Default::default() };
        Ok(Response::new(pb::RangeResponse {
            header: Some(pb::ResponseHeader { revision: now, ..Default::default() }),
            kvs: held.into_iter().map(kv).collect(),
            more,
            count,
        }))
    }

    async fn put(&self, _: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

async fn all(mut pages: Pages) -> Vec<GetAnswer> {
    let mut answers = Vec::new();
    while let Some(answer) = pages.next().await.unwrap() {
        answers.push(answer);
    }
    answers
}

fn keys(pages: &[GetAnswer]) -> Vec<Bytes> {
    pages.iter().flat_map(|page| &page.key_values).map(|KeyValue { key, .. }| key.clone()).collect()
}

#[tokio::test]
async fn all_pages_are_of_the_first_one_s_revision_and_every_key_comes_once() {
    let store = Store::with(vec![100; 500]);
    for range in [KeyRange::Prefix("k".into()), KeyRange::Prefix("".into()), KeyRange::From("k".into())] {
        store.asked.lock().unwrap().clear();
        let pages = all(store.client().await.pages(range.clone(), GetOptions::default())).await;
        assert!(pages.len() > 2, "{} pages", pages.len());
        assert_eq!(keys(&pages), store.values.keys().cloned().collect::<Vec<_>>(), "{range:?}");
        assert!(pages.iter().all(|page| page.count == 500), "the whole range's");
        let more: Vec<bool> = pages.iter().map(|page| page.more).collect();
        assert!(!more[more.len() - 1] && more[..more.len() - 1].iter().all(|more| *more), "{more:?}");
        let revisions: Vec<i64> = store.asked().into_iter().map(|(_, revision)| revision).collect();
        assert_eq!(revisions[0], 0, "the newest");
        assert!(revisions[1..].iter().all(|revision| *revision == REVISION), "{revisions:?}");
    }
}

#[tokio::test]
async fn a_limit_is_one_of_all_pages_together() {
    let store = Store::with(vec![100; 500]);
    let options = GetOptions { limit: Some(100), ..GetOptions::default() };
    let pages = all(store.client().await.pages(KeyRange::Prefix("k".into()), options)).await;
    assert_eq!(keys(&pages).len(), 100);
    assert!(pages[pages.len() - 1].more, "the limit holds keys back");
    assert_eq!(store.asked().iter().map(|(limit, _)| limit).sum::<i64>(), 100);
}

#[tokio::test]
async fn an_empty_range_and_one_key_are_a_page() {
    let store = Store::with([1]);
    let client = store.client().await;
    let nothing = all(client.pages(KeyRange::Prefix("x".into()), GetOptions::default())).await;
    assert_eq!((nothing.len(), nothing[0].count), (1, 0));
    let counted = GetOptions { count_only: true, ..GetOptions::default() };
    assert_eq!(all(client.pages(KeyRange::Prefix("k".into()), counted)).await.len(), 1);
}

/// The small ones make a page of many, which would not fit a message once they are large.
#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_again_in_smaller_ones() {
    let sizes = [vec![10; 40], vec![1 << 20; 100]].concat();
    let store = Store::with(sizes);
    let pages = all(store.client().await.pages(KeyRange::Prefix("k".into()), GetOptions::default())).await;
    assert_eq!(keys(&pages), store.values.keys().cloned().collect::<Vec<_>>());
    let limits: Vec<i64> = store.asked().into_iter().map(|(limit, _)| limit).collect();
    assert_eq!(limits[..3], [40, 160, 20]);
    assert!(limits[3..].iter().all(|limit| *limit <= 8), "{limits:?}");
}

#[tokio::test]
async fn a_key_that_fits_no_message_is_an_error() {
    let store = Store::with([65 << 20]);
    let mut pages = store.client().await.pages(KeyRange::Prefix("k".into()), GetOptions::default());
    let error = pages.next().await.unwrap_err();
    assert!(matches!(error, ruvector_client::ClientError::TooLarge { .. }), "{error:?}");
    assert_eq!(store.asked().into_iter().map(|(limit, _)| limit).collect::<Vec<_>>(), [40, 5, 1]);
}
