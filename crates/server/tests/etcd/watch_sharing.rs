//! Watches of all kinds at once: what is encoded once and shared must reach each as it asked, and nobody else.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::future::join_all;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_create_request::FilterType;
use ruvector_api::mvccpb;
use tokio::sync::watch;

use crate::harness::{TestServer, Watch, bytes, put_request};

const KEYS: [&str; 6] = ["a", "aa", "ab", "b", "ba", "c"];
/// What is watched: keys, prefixes, intervals, everything.
const RANGES: [(&str, &str); 7] =
    [("a", ""), ("a", "b"), ("aa", ""), ("aa", "ba"), ("b", "c"), ("\0", "\0"), ("ab", "c\0")];

/// A change as the store made it.
#[derive(Clone)]
struct Made {
    revision: i64,
    key: &'static str,
    /// Nothing after a deletion.
    value: Option<String>,
    before: Option<String>,
}

/// What a watch was told of a change: revision, key, value, value before, and whether it was a deletion. Values by
/// their hashes, so that large ones are not kept a thousand times.
type Told = (i64, String, u64, Option<u64>, bool);

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Every range with every way to ask, the same one on several streams: by stream, then by the id of the watch.
fn requests(streams: usize, start_revision: i64) -> Vec<BTreeMap<i64, pb::WatchCreateRequest>> {
    let mut requests = vec![BTreeMap::new(); streams];
    let mut id = 1;
    for (key, range_end) in RANGES {
        for options in 0..8 {
            let filters = match options % 4 {
                0 | 1 => vec![],
                2 => vec![FilterType::Noput as i32],
                _ => vec![FilterType::Nodelete as i32],
            };
            let request = pb::WatchCreateRequest {
                key: bytes(key),
                range_end: bytes(range_end),
                prev_kv: options % 2 == 1,
                fragment: options >= 4,
                filters,
                start_revision,
                ..Default::default()
            };
            for copy in 0..2 {
                let stream = (id as usize / 2 + copy * 3) % streams;
                requests[stream].insert(id, pb::WatchCreateRequest { watch_id: id, ..request.clone() });
                id += 1;
            }
        }
    }
    requests
}

fn wanted(request: &pb::WatchCreateRequest, from: i64, made: &Made) -> Option<Told> {
    let (key, end) = (request.key.as_ref(), request.range_end.as_ref());
    let is_in = match end {
        [] => made.key.as_bytes() == key,
        [0] => made.key.as_bytes() >= key,
        _ => made.key.as_bytes() >= key && made.key.as_bytes() < end,
    };
    let kind = if made.value.is_some() { FilterType::Noput } else { FilterType::Nodelete };
    let is_wanted = is_in && made.revision >= from && !request.filters.contains(&(kind as i32));
    let before = made.before.as_deref().filter(|_| request.prev_kv).map(|before| hash(before.as_bytes()));
    let value = hash(made.value.as_deref().unwrap_or_default().as_bytes());
    is_wanted.then(|| (made.revision, made.key.to_owned(), value, before, made.value.is_none()))
}

fn told(event: &mvccpb::Event) -> Told {
    let kv = event.kv.as_ref().unwrap();
    let before = event.prev_kv.as_ref().map(|kv| hash(&kv.value));
    let key = String::from_utf8(kv.key.to_vec()).unwrap();
    (kv.mod_revision, key, hash(&kv.value), before, event.r#type == 1)
}

/// Reads a stream until everything is told after the writing has ended: by watch.
async fn read(mut stream: Watch, mut written: watch::Receiver<bool>) -> HashMap<i64, Vec<Told>> {
    let mut all: HashMap<i64, Vec<Told>> = HashMap::new();
    let mut asked = false;
    loop {
        let response = tokio::select! {
            response = stream.next() => response,
            () = async { drop(written.wait_for(|written| *written).await) }, if !asked => {
                asked = true;
                stream.ask_progress().await;
                continue;
            }
        };
        if response.watch_id == -1 {
            return all;
        }
        assert!(!response.canceled, "{response:?}");
        all.entry(response.watch_id).or_default().extend(response.events.iter().map(told));
    }
}

/// Several clients write at once, so that versions of the store have several revisions.
async fn write(server: &TestServer, rounds: usize, large_bytes: usize) -> Vec<Made> {
    let clients = KEYS.into_iter().map(async |key| {
        let mut kv = server.kv();
        let mut made = Vec::new();
        for round in 0..rounds {
            let filler = if key == "c" { large_bytes } else { 10 };
            let value = format!("{key} {round} {}", "v".repeat(filler));
            if round % 4 == 3 {
                let request = pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
                let deleted = kv.delete_range(request).await.unwrap().into_inner();
                assert_eq!(deleted.deleted, 1);
                made.push((deleted.header.unwrap().revision, key, None));
            } else if round % 5 == 1 {
                let put = pb::RequestOp { request: Some(Request::RequestPut(put_request(key, &value))) };
                let other = pb::RequestOp { request: Some(Request::RequestPut(put_request("bb", &value))) };
                let txn = pb::TxnRequest { success: vec![put, other], ..Default::default() };
                let revision = kv.txn(txn).await.unwrap().into_inner().header.unwrap().revision;
                made.push((revision, key, Some(value.clone())));
                made.push((revision, "bb", Some(value)));
            } else {
                let put = kv.put(put_request(key, &value)).await.unwrap().into_inner();
                made.push((put.header.unwrap().revision, key, Some(value)));
            }
        }
        made
    });
    let mut made = join_all(clients).await.concat();
    // Stable: the changes of one transaction stay in their order.
    made.sort_by_key(|(revision, _, _)| *revision);
    made.into_iter().map(|(revision, key, value)| Made { revision, key, value, before: None }).collect()
}

fn with_what_was_before(made: &mut [Made]) {
    let mut values: HashMap<&str, String> = HashMap::new();
    for change in made {
        change.before = match change.value.clone() {
            Some(value) => values.insert(change.key, value),
            None => values.remove(change.key),
        };
    }
}

#[tokio::test]
async fn every_watch_is_told_exactly_what_it_asked_for() {
    let server = TestServer::start().await;
    let (end, written) = watch::channel(false);
    let mut made = Vec::new();
    let mut readers = Vec::new();
    // Small values, which streams share; large ones, for which they read history; and small ones again.
    for (rounds, large_bytes) in [(40, 10), (4, 300_000), (40, 10)] {
        let next = made.last().map_or(2, |change: &Made| change.revision + 1);
        // From now on, from the past, and from what is yet to come.
        for start in [0, 2, next + 20] {
            for requests in requests(5, start) {
                let mut stream = server.watch().await;
                for request in requests.values() {
                    stream.send(pb::watch_request::RequestUnion::CreateRequest(request.clone())).await;
                }
                // All are created before anything more is written. What is past may be told in between.
                let mut past: HashMap<i64, Vec<Told>> = HashMap::new();
                let mut created = 0;
                while created < requests.len() {
                    let response = stream.next().await;
                    created += usize::from(response.created);
                    let events = response.events.iter().map(told);
                    past.entry(response.watch_id).or_default().extend(events);
                }
                let from = if start == 0 { next } else { start };
                readers.push((from, requests, past, tokio::spawn(read(stream, written.clone()))));
            }
        }
        made.extend(write(&server, rounds, large_bytes).await);
    }
    with_what_was_before(&mut made);
    end.send_replace(true);
    for (from, requests, mut past, reader) in readers {
        let mut rest = reader.await.unwrap();
        for (id, request) in requests {
            let mut received = past.remove(&id).unwrap_or_default();
            received.extend(rest.remove(&id).unwrap_or_default());
            let expected: Vec<_> = made.iter().filter_map(|change| wanted(&request, from, change)).collect();
            let short = |all: &[Told]| -> Vec<_> {
                let short = |(revision, key, _, before, deleted): &Told| {
                    (*revision, key.clone(), before.is_some(), *deleted)
                };
                all.iter().map(short).collect()
            };
            assert_eq!(short(&received), short(&expected), "{request:?} from {from}");
            assert!(received == expected, "{request:?} from {from}: with other values");
        }
    }
}
