//! Clients that ask for much and take nothing, or send much and never end, against a node of its own process: however they do
//! it, the node's memory stays below a stated bound, others are served meanwhile, and the memory is given back.
//!
//! The node may hold 64 MiB for its clients here. With a program from before there was such a limit
//! (`HOSTILE_PROGRAM=…/ruvector HOSTILE_WITHOUT_LIMIT=1`) each of these fails.

#![allow(clippy::unwrap_used)]

mod node;
mod wire;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use node::Node;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::ruvector::v1::{ClientFrame, NativeRequest, native_request};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use wire::{
    KEEP_ALIVE, NATIVE, OUT_OF_RANGE, PUT, RANGE, RESOURCE_EXHAUSTED, TXN, WATCH, finish, frame, get, put,
    put_request, range_request,
};

/// What the node may hold for its clients.
const HELD_MIB: u64 = 64;
/// What may come to its memory under any load: that, what the system keeps of it in pieces that are too small to give back, and
/// buffers of a fixed size.
const GROWTH_MIB: u64 = 128;
/// What of that may stay.
const LEFT_MIB: u64 = 48;
const VALUE_BYTES: usize = 1_500_000;

/// One after the other: each is a load for the whole machine.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
    TURN.lock().await
}

/// Puts keys below `prefix`, of which each has so many bytes.
async fn fill(node: &Node, prefix: &str, count: usize, value_bytes: usize) {
    let mut client = node.client().await;
    for begin in (0..count).step_by(200) {
        let mut asked = Vec::new();
        for number in begin..count.min(begin + 200) {
            let request = put_request(&format!("{prefix}{number:06}"), value_bytes);
            asked.push(client.ask(PUT, &request).await.unwrap());
            if value_bytes > 100_000 {
                assert_eq!(finish(asked.pop().unwrap()).await.0, 0);
            }
        }
        join_all(asked.into_iter().map(finish))
            .await
            .into_iter()
            .for_each(|(status, _)| assert_eq!(status, 0));
    }
}

/// Waits until the load has had its effect: nothing changes any more.
async fn settled(node: &Node) {
    let mut before = 0;
    let mut steady = 0;
    node.eventually("a steady state", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = node.memory() >> 20;
        steady = if now == before { steady + 1 } else { 0 };
        before = now;
        steady > 5
    })
    .await;
}

#[tokio::test]
async fn gets_of_large_values_that_are_not_taken() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "large", 1, VALUE_BYTES).await;
    node.begin_load();
    let mut deaf = node.connect(10_000).await;
    let mut asked = Vec::new();
    for _ in 0..400 {
        asked.push(deaf.ask(RANGE, &range_request("large000000", "")).await);
    }
    settled(&node).await;
    node.serves_the_polite().await;
    let mut polite = node.client().await;
    assert!(get(&mut polite, "large000000").await.1 > VALUE_BYTES);
    node.assert_held_less_than(GROWTH_MIB);
    drop(deaf);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn ranges_that_are_not_taken() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "range", 10_000, 5_000).await;
    node.begin_load();
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut client = node.connect(10_000).await;
        let asked = client.ask(RANGE, &range_request("range", "rangf")).await;
        deaf.push((client, asked));
    }
    settled(&node).await;
    node.serves_the_polite().await;
    let mut polite = node.client().await;
    let (status, bytes) = polite.call(RANGE, &range_request("range", "rangf")).await;
    assert_eq!(status, 0);
    assert!(bytes > 10_000 * 5_000, "{bytes}");
    node.assert_held_less_than(GROWTH_MIB);
    drop(deaf);
    node.gives_back_all_but(LEFT_MIB).await;
}

/// Clients that read much, and take it as fast as they can, are no reason to let others wait.
#[tokio::test]
async fn ranges_that_are_taken_again_and_again() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "range", 10_000, 5_000).await;
    node.begin_load();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut client = node.client().await;
        readers.push(tokio::spawn(async move {
            loop {
                assert_eq!(client.call(RANGE, &range_request("range", "rangf")).await.0, 0);
            }
        }));
    }
    for _ in 0..4 {
        node.serves_the_polite().await;
    }
    readers.iter().for_each(|reader| assert!(!reader.is_finished(), "the readers are served, too"));
    node.assert_held_less_than(GROWTH_MIB);
    readers.iter().for_each(JoinHandle::abort);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn a_transaction_of_many_large_ranges() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "range", 10_000, 5_000).await;
    node.begin_load();
    let range = pb::request_op::Request::RequestRange(range_request("range", "rangf"));
    let range = pb::RequestOp { request: Some(range) };
    let put = pb::request_op::Request::RequestPut(put_request("written", 1));
    let put = pb::RequestOp { request: Some(put) };
    let reads = vec![range; 6];
    let mut client = node.client().await;
    let reading = pb::TxnRequest { success: reads.clone(), ..Default::default() };
    assert_eq!(client.call(TXN, &reading).await.0, RESOURCE_EXHAUSTED);
    let writing = pb::TxnRequest { success: [reads, vec![put]].concat(), ..Default::default() };
    assert_eq!(client.call(TXN, &writing).await.0, RESOURCE_EXHAUSTED);
    assert_eq!(get(&mut client, "written").await.0, 0);
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn watches_from_the_beginning_that_are_not_taken() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "watched", 20, VALUE_BYTES).await;
    node.begin_load();
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut client = node.connect(10_000).await;
        let mut streams = Vec::new();
        for _ in 0..30 {
            let mut call = client.begin(WATCH).await.unwrap();
            let create = pb::WatchCreateRequest {
                key: "w".into(),
                range_end: "x".into(),
                start_revision: 1,
                ..Default::default()
            };
            let create = pb::watch_request::RequestUnion::CreateRequest(create);
            call.request.send_data(frame(&pb::WatchRequest { request_union: Some(create) }), false).unwrap();
            streams.push(call);
        }
        deaf.push((client, streams));
    }
    settled(&node).await;
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    drop(deaf);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn native_answers_that_are_not_taken() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    fill(&node, "large", 1, VALUE_BYTES).await;
    node.begin_load();
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut client = node.connect(10_000).await;
        let mut call = client.begin(NATIVE).await.unwrap();
        for number in 0..400 {
            let request = native_request::Request::Range(range_request("large000000", ""));
            let request = NativeRequest { number, request: Some(request) };
            let asked = ClientFrame { requests: vec![request], ..Default::default() };
            call.request.send_data(frame(&asked), false).unwrap();
        }
        deaf.push((client, call));
    }
    settled(&node).await;
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    drop(deaf);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn renewals_whose_answers_are_not_taken() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    node.begin_load();
    let renewal = frame(&pb::LeaseKeepAliveRequest { id: 7 });
    let many: Bytes = renewal.iter().copied().cycle().take(renewal.len() * 200_000).collect();
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut client = node.connect(10_000).await;
        let mut call = client.begin(KEEP_ALIVE).await.unwrap();
        call.request.send_data(many.clone(), false).unwrap();
        deaf.push((client, call));
    }
    settled(&node).await;
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    drop(deaf);
    node.gives_back_all_but(LEFT_MIB).await;
}

/// HTTP/2 has receivers pass over kinds of frames that they don't know (RFC 9113, 4.1).
#[tokio::test]
async fn frames_that_mean_nothing() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    node.begin_load();
    let floods: Vec<_> = (0..4).map(|_| wire::flood(node.address)).collect();
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    floods.iter().for_each(|flood| assert!(!flood.is_finished(), "the flood goes on"));
    floods.iter().for_each(JoinHandle::abort);
    node.gives_back_all_but(LEFT_MIB).await;
}

/// Begins uploads, as far as the node takes them, and ends none.
async fn half_open(client: &mut wire::Client, count: usize) -> Vec<wire::Call> {
    let message = frame(&put_request("never", VALUE_BYTES));
    let mut calls = Vec::new();
    for _ in 0..count {
        let Ok(mut call) = client.begin(PUT).await else { break };
        if call.request.send_data(message.slice(..message.len() - 1), false).is_ok() {
            calls.push(call);
        }
    }
    calls
}

#[tokio::test]
async fn uploads_that_never_end_on_one_connection() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    node.begin_load();
    let mut client = node.client().await;
    let uploads = half_open(&mut client, 250).await;
    settled(&node).await;
    node.serves_the_polite().await;
    node.assert_held_less_than(GROWTH_MIB);
    drop((uploads, client));
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn uploads_that_never_end_on_many_connections() {
    let _turn = turn().await;
    let mut node = Node::start(HELD_MIB, "").await;
    node.begin_load();
    let mut all = Vec::new();
    for _ in 0..21 {
        let mut client = node.client().await;
        let uploads = half_open(&mut client, 20).await;
        all.push((client, uploads));
    }
    settled(&node).await;
    node.serves_the_polite().await;
    let mut polite = node.client().await;
    assert_eq!(put(&mut polite, "large", VALUE_BYTES).await, 0);
    node.assert_held_less_than(GROWTH_MIB);
    drop(all);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn writes_without_a_quorum() {
    let _turn = turn().await;
    let mut node = Node::start_alone(HELD_MIB, "", 3);
    drop(node.client().await);
    node.begin_load();
    let mut all = Vec::new();
    for _ in 0..6 {
        let mut client = node.client().await;
        let mut asked = Vec::new();
        for _ in 0..50 {
            asked.extend(client.ask(PUT, &put_request("pending", VALUE_BYTES)).await);
        }
        all.push((client, asked));
    }
    let mut refused = 0;
    for (_client, asked) in all {
        let answered = join_all(asked.into_iter().map(finish)).await;
        refused += answered.iter().filter(|(status, _)| *status == RESOURCE_EXHAUSTED).count();
        assert!(answered.iter().all(|(status, _)| *status != 0));
    }
    assert!(refused > 200, "{refused} of 300 were refused");
    node.assert_held_less_than(GROWTH_MIB);
    node.gives_back_all_but(LEFT_MIB).await;
}

#[tokio::test]
async fn writes_whose_callers_went_away() {
    let _turn = turn().await;
    let mut node = Node::start_alone(HELD_MIB, "", 3);
    drop(node.client().await);
    node.begin_load();
    for _ in 0..10 {
        let mut client = node.client().await;
        let mut asked = Vec::new();
        for _ in 0..30 {
            asked.extend(client.ask(PUT, &put_request("pending", VALUE_BYTES)).await);
        }
        settled(&node).await;
        drop((asked, client));
    }
    node.assert_held_less_than(GROWTH_MIB);
    node.gives_back_all_but(LEFT_MIB).await;
}

/// As many calls given up in one burst as a busy client may have, while the node is held up.
#[tokio::test]
async fn calls_given_up_together_do_not_end_their_connection() {
    let _turn = turn().await;
    let node = Node::start(HELD_MIB, "").await;
    let mut client = node.client().await;
    let pid = rustix::process::Pid::from_raw(node.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    for _ in 0..1_000 {
        let mut call = client.begin(RANGE).await.unwrap();
        call.request.send_data(frame(&range_request("first", "")), true).unwrap();
        tokio::task::yield_now().await;
        call.request.send_reset(h2::Reason::CANCEL);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(get(&mut client, "first").await.0, 0);
    assert_eq!(get(&mut client, "first").await.0, 0);
}

/// A range is told as it was when it was asked for, however late it is taken; unless that is compacted meanwhile.
#[tokio::test]
async fn a_range_that_is_taken_late() {
    let _turn = turn().await;
    let node = Node::start(HELD_MIB, "").await;
    fill(&node, "late", 2_000, 1_000).await;
    let mut late = wire::Client::narrow(node.address).await.unwrap();
    let first = late.ask(RANGE, &range_request("late", "latf")).await.unwrap().await.unwrap();
    let mut too_late = wire::Client::narrow(node.address).await.unwrap();
    let second = too_late.ask(RANGE, &range_request("late", "latf")).await.unwrap().await.unwrap();
    // Longer than a node keeps the version that an answer began with.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fill(&node, "late", 2_000, 10).await;
    let (status, bytes) = wire::read(first).await.unwrap();
    assert_eq!(status, 0);
    assert!(bytes > 2_000 * 1_000, "{bytes}");
    let compaction = pb::CompactionRequest { revision: 3_000, physical: true };
    assert_eq!(late.call(wire::COMPACT, &compaction).await.0, 0);
    assert_eq!(wire::read(second).await.unwrap().0, OUT_OF_RANGE);
}

#[tokio::test]
async fn idle_connections_make_room_for_others() {
    let _turn = turn().await;
    let node = Node::start(HELD_MIB, "connections = 20").await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(node.client().await);
    }
    node.serves_the_polite().await;
}

#[tokio::test]
async fn connections_that_are_all_used_leave_a_way_for_those_who_look() {
    let _turn = turn().await;
    let node = Node::start(HELD_MIB, "connections = 20").await;
    let mut used = Vec::new();
    for _ in 0..100 {
        let Ok(mut client) = wire::Client::connect(node.address, usize::MAX).await else { continue };
        let watch = client.begin(WATCH).await;
        used.push((client, watch));
    }
    for path in ["/readyz", "/metrics", "/livez"] {
        node.eventually(path, async || {
            wire::http(node.address, path).await.is_ok_and(|answer| answer == 200)
        })
        .await;
    }
}
