//! Watches that begin far behind: megabytes of history, while more is written and the client takes its time.

use std::collections::HashMap;
use std::time::Duration;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::mvccpb;
use ruvector_server::Limits;

use crate::harness::{TestServer, Watch, on_range, put_request};

const VALUE_BYTES: usize = 64_000;
/// Less than what a transaction's changes take together with what was before them, so that those come in fragments.
const REQUEST_BYTES: usize = 300_000;
/// Keys of a transaction. Each fifth write is one.
const TXN_KEYS: usize = 4;
/// The last change of all.
const END: &str = "k-end";

/// A change: revision, key, the number of its value, and that of the value before if that was asked for.
type Told = (i64, String, usize, Option<usize>);

/// Different for each number, and as long as all others.
fn value(number: usize) -> String {
    format!("{number:0VALUE_BYTES$}")
}

fn number(kv: &mvccpb::KeyValue) -> usize {
    assert_eq!(kv.value.len(), VALUE_BYTES);
    std::str::from_utf8(&kv.value).unwrap().parse().unwrap()
}

/// Writes values of these numbers, and adds what became of them to `made`.
async fn write(server: &TestServer, numbers: std::ops::Range<usize>, made: &mut Vec<Told>) {
    for number in numbers {
        let count = if number % 5 == 4 { TXN_KEYS } else { 1 };
        let keys: Vec<String> = (0..count).map(|key| format!("k{}", (number + key) % 7)).collect();
        let put = |key: &String| pb::RequestOp {
            request: Some(Request::RequestPut(put_request(key, &value(number)))),
        };
        let txn = pb::TxnRequest { success: keys.iter().map(put).collect(), ..Default::default() };
        let revision = server.kv().txn(txn).await.unwrap().into_inner().header.unwrap().revision;
        made.extend(keys.into_iter().map(|key| (revision, key, number, None)));
    }
}

/// Reads slowly until the last change, and makes sure that nothing comes behind it. Returns how many answers were parts of one.
async fn read_slowly(mut watch: Watch) -> (Vec<Told>, usize) {
    let (mut all, mut fragments) = (Vec::new(), 0);
    while all.last().is_none_or(|(_, key, _, _)| key != END) {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let response = watch.next().await;
        assert!(!response.canceled && !response.events.is_empty(), "{:?}", response.header);
        fragments += usize::from(response.fragment);
        for event in &response.events {
            let kv = event.kv.as_ref().unwrap();
            let key = String::from_utf8(kv.key.to_vec()).unwrap();
            let is_new = all.last().is_none_or(|(revision, last, _, _): &Told| {
                *revision < kv.mod_revision || *revision == kv.mod_revision && *last != key
            });
            assert!(is_new, "{key} at {} is told behind {:?}", kv.mod_revision, all.last());
            all.push((kv.mod_revision, key, number(kv), event.prev_kv.as_ref().map(number)));
        }
    }
    watch.ask_progress().await;
    assert_eq!(watch.next().await.watch_id, -1, "something was told behind the last change");
    (all, fragments)
}

fn with_what_was_before(made: &[Told]) -> Vec<Told> {
    let mut values = HashMap::new();
    let with_previous = |(revision, key, number, _): &Told| {
        (*revision, key.clone(), *number, values.insert(key.clone(), *number))
    };
    made.iter().map(with_previous).collect()
}

#[tokio::test]
async fn a_backlog_of_megabytes_is_told_whole_and_in_order_while_more_comes() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(Limits { request_bytes: REQUEST_BYTES, ..Limits::default() });
    })
    .await;
    let mut made = Vec::new();
    write(&server, 0..200, &mut made).await;
    let mut readers = Vec::new();
    for (prev_kv, fragment) in [(false, false), (true, false), (true, true)] {
        let mut watch = server.watch().await;
        let from_start =
            pb::WatchCreateRequest { start_revision: 1, prev_kv, fragment, ..on_range("k", "l") };
        watch.create(from_start).await;
        readers.push((prev_kv, fragment, tokio::spawn(read_slowly(watch))));
    }
    write(&server, 200..350, &mut made).await;
    let last = server.put(END, &value(350)).await;
    made.push((last, END.to_owned(), 350, None));
    let with_previous = with_what_was_before(&made);
    for (prev_kv, fragment, reader) in readers {
        let (told, fragments) = reader.await.unwrap();
        let expected = if prev_kv { &with_previous } else { &made };
        let differs = told.iter().zip(expected).find(|(told, made)| told != made);
        assert_eq!(differs, None, "of {} changes", told.len());
        assert_eq!(told.len(), expected.len());
        assert_eq!(fragments > 0, fragment, "{fragments} answers were parts of one");
    }
}
