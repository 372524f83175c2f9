//! Watches: what they tell, in which order, from when.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_create_request::FilterType;

use crate::harness::{TestServer, bytes, on_key, on_range, put_request, short};

async fn delete(server: &TestServer, key: &str) -> i64 {
    let request = pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
    server.kv().delete_range(request).await.unwrap().into_inner().header.unwrap().revision
}

#[tokio::test]
async fn changes_come_as_they_happen_with_what_was_before_if_asked() {
    let server = TestServer::start().await;
    let before = server.put("a", "0").await;
    let mut plain = server.watch().await;
    let created = plain.create(on_key("a")).await;
    assert_eq!((created.watch_id, created.canceled), (0, false));
    assert_eq!(created.header.unwrap().revision, before);
    let mut with_previous = server.watch().await;
    with_previous.create(pb::WatchCreateRequest { prev_kv: true, ..on_key("a") }).await;

    server.put("a", "1").await;
    server.put("other", "1").await;
    delete(&server, "a").await;
    let expected = [format!("a@{}", before + 1), format!("-a@{}", before + 3)];
    assert_eq!(plain.events(2).await, expected);
    let put = with_previous.next().await;
    assert_eq!(put.header.unwrap().revision, before + 1);
    assert_eq!(put.events[0].prev_kv.as_ref().unwrap().value, "0");
    let deletion = with_previous.next().await;
    assert_eq!(deletion.events[0].prev_kv.as_ref().unwrap().value, "1");
    let tombstone = deletion.events[0].kv.as_ref().unwrap();
    assert_eq!((tombstone.create_revision, tombstone.version, tombstone.value.len()), (0, 0, 0));
}

#[tokio::test]
async fn the_changes_of_one_transaction_come_together() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    watch.create(on_range("a", "d")).await;
    let put = |key: &str| pb::RequestOp { request: Some(Request::RequestPut(put_request(key, "v"))) };
    let success = vec![put("c"), put("a"), put("x"), put("b")];
    server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap();
    let response = watch.next().await;
    let events: Vec<_> = response.events.iter().map(short).collect();
    assert_eq!(events, ["c@2", "a@2", "b@2"]);
}

#[tokio::test]
async fn a_watch_from_the_past_misses_nothing_and_repeats_nothing() {
    let server = TestServer::start().await;
    let write = async |numbers: std::ops::Range<usize>| {
        for i in numbers {
            server.put(&format!("k{}", i % 7), "v").await;
        }
    };
    write(0..1_100).await;
    // Begins in the past while writing goes on, so that it goes over from history to what happens.
    let reader = async {
        let mut watch = server.watch().await;
        watch.create(pb::WatchCreateRequest { start_revision: 2, ..on_range("k", "l") }).await;
        watch.events(1_600).await
    };
    let ((), events) = tokio::join!(write(1_100..1_600), reader);
    let expected: Vec<_> = (0..1_600).map(|i| format!("k{}@{}", i % 7, i + 2)).collect();
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_watch_after_a_time_without_any_begins_at_the_present() {
    let server = TestServer::start().await;
    for round in 0..3 {
        // Long enough that nothing is published any more, as nobody reads.
        for number in 0..100 {
            server.put("a", &format!("{round} {number}")).await;
        }
        let mut watch = server.watch().await;
        watch.create(on_key("a")).await;
        let next = server.put("a", "new").await;
        assert_eq!(watch.events(1).await, [format!("a@{next}")]);
    }
}

#[tokio::test]
async fn watches_of_one_stream_keep_apart() {
    let server = TestServer::start().await;
    let first = server.put("a", "1").await;
    let mut watch = server.watch().await;
    let past = pb::WatchCreateRequest { start_revision: first, watch_id: 5, ..on_key("a") };
    assert_eq!(watch.create(past).await.watch_id, 5);
    assert_eq!(watch.events(1).await, [format!("a@{first}")]);
    assert_eq!(watch.create(on_range("\0", "\0")).await.watch_id, 0);
    assert_eq!(watch.create(on_key("b")).await.watch_id, 1);
    let second = server.put("a", "2").await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let response = watch.next().await;
        told.push((response.watch_id, short(&response.events[0])));
    }
    told.sort();
    assert_eq!(told, [(0, format!("a@{second}")), (5, format!("a@{second}"))]);
}

#[tokio::test]
async fn a_future_revision_is_waited_for() {
    let server = TestServer::start().await;
    let current = server.put("a", "0").await;
    let mut watch = server.watch().await;
    watch.create(pb::WatchCreateRequest { start_revision: current + 3, ..on_key("a") }).await;
    for _ in 0..3 {
        server.put("a", "1").await;
    }
    assert_eq!(watch.events(1).await, [format!("a@{}", current + 3)]);
}

#[tokio::test]
async fn kinds_that_are_filtered_do_not_come() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    let without = |kind: FilterType| pb::WatchCreateRequest { filters: vec![kind as i32], ..on_key("a") };
    watch.create(without(FilterType::Noput)).await;
    let put = server.put("a", "1").await;
    let deletion = delete(&server, "a").await;
    assert_eq!(watch.events(1).await, [format!("-a@{deletion}")]);
    let mut past = server.watch().await;
    past.create(pb::WatchCreateRequest { start_revision: put, ..without(FilterType::Nodelete) }).await;
    assert_eq!(past.events(1).await, [format!("a@{put}")]);
    let again = server.put("a", "2").await;
    assert_eq!(past.events(1).await, [format!("a@{again}")]);
}

#[tokio::test]
async fn a_cancelled_watch_is_silent_and_its_id_free() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    watch.create(pb::WatchCreateRequest { watch_id: 3, ..on_key("a") }).await;
    watch.cancel(99).await;
    watch.cancel(3).await;
    let cancelled = watch.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled), (3, true));
    assert_eq!((cancelled.compact_revision, cancelled.cancel_reason.as_str()), (0, ""));
    server.put("a", "1").await;
    assert_eq!(watch.create(pb::WatchCreateRequest { watch_id: 3, ..on_key("b") }).await.watch_id, 3);
    let put = server.put("b", "1").await;
    assert_eq!(watch.events(1).await, [format!("b@{put}")]);
}

#[tokio::test]
async fn a_watch_that_can_not_be_is_created_and_cancelled_in_one() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    let backwards = watch.create(on_range("b", "a")).await;
    assert_eq!((backwards.watch_id, backwards.canceled), (-1, true));
    assert_eq!(backwards.cancel_reason, "mvcc: watcher range is empty");
    watch.create(pb::WatchCreateRequest { watch_id: 3, ..on_key("a") }).await;
    let again = watch.create(pb::WatchCreateRequest { watch_id: 3, ..on_key("b") }).await;
    assert_eq!((again.watch_id, again.canceled), (-1, true));
    assert_eq!(again.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    let put = server.put("a", "1").await;
    assert_eq!(watch.events(1).await, [format!("a@{put}")], "the first is not disturbed");
}

#[tokio::test]
async fn a_compacted_revision_ends_the_watch_and_says_where_to_begin() {
    let server = TestServer::start().await;
    for _ in 0..5 {
        server.put("a", "v").await;
    }
    server.compact(4).await;
    let mut watch = server.watch().await;
    let created = watch.create(pb::WatchCreateRequest { start_revision: 3, ..on_key("a") }).await;
    assert!(!created.canceled);
    let cancelled = watch.next().await;
    assert!(cancelled.canceled, "{cancelled:?}");
    assert_eq!((cancelled.compact_revision, cancelled.cancel_reason.as_str()), (4, ""));
    assert_eq!(cancelled.header.unwrap().revision, 0);
    let start_revision = cancelled.compact_revision;
    watch.create(pb::WatchCreateRequest { start_revision, ..on_key("a") }).await;
    let rest: Vec<_> = (start_revision..=6).map(|revision| format!("a@{revision}")).collect();
    assert_eq!(watch.events(rest.len()).await, rest);
}

#[tokio::test]
async fn the_changes_of_the_compacted_revision_are_told_and_what_was_before_them_is_not() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let compacted = delete(&server, "a").await;
    server.put("a", "2").await;
    server.compact(compacted).await;
    // With each of these, something that was compacted is really taken out.
    for _ in 0..10 {
        server.put("b", "").await;
    }
    let mut watch = server.watch().await;
    let start = pb::WatchCreateRequest { start_revision: compacted, prev_kv: true, ..on_key("a") };
    watch.create(start).await;
    let told = watch.next().await;
    let events: Vec<_> = told.events.iter().map(short).collect();
    assert_eq!(events, [format!("-a@{compacted}"), format!("a@{}", compacted + 1)]);
    assert!(told.events.iter().all(|event| event.prev_kv.is_none()), "{told:?}");
}

#[tokio::test]
async fn a_watch_from_before_the_first_revision_tells_everything() {
    let server = TestServer::start().await;
    let put = server.put("a", "1").await;
    let mut watch = server.watch().await;
    watch.create(pb::WatchCreateRequest { start_revision: -3, ..on_key("a") }).await;
    assert_eq!(watch.events(1).await, [format!("a@{put}")]);
    server.compact(put).await;
    watch.create(pb::WatchCreateRequest { start_revision: -3, ..on_key("a") }).await;
    let ended = watch.next().await;
    assert_eq!((ended.canceled, ended.compact_revision), (true, put));
}

#[tokio::test]
async fn a_watch_that_compaction_ended_keeps_its_id_until_it_is_cancelled() {
    let server = TestServer::start().await;
    for _ in 0..3 {
        server.put("a", "v").await;
    }
    server.compact(4).await;
    let mut watch = server.watch().await;
    let too_early = |watch_id| pb::WatchCreateRequest { start_revision: 2, watch_id, ..on_key("a") };
    assert_eq!(watch.create(too_early(0)).await.watch_id, 0);
    assert!(watch.next().await.canceled);
    watch.create(too_early(5)).await;
    assert!(watch.next().await.canceled);
    assert_eq!(watch.create(on_key("a")).await.watch_id, 1, "0 is taken");
    let again = watch.create(pb::WatchCreateRequest { watch_id: 5, ..on_key("b") }).await;
    assert_eq!((again.watch_id, again.canceled), (-1, true));
    watch.cancel(5).await;
    let cancelled = watch.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled, cancelled.compact_revision), (5, true, 0));
    assert_eq!(cancelled.header.unwrap().revision, 4);
    watch.cancel(5).await;
    let free = watch.create(pb::WatchCreateRequest { watch_id: 5, ..on_key("b") }).await;
    assert_eq!((free.watch_id, free.canceled), (5, false));
    let put = server.put("b", "1").await;
    assert_eq!(watch.events(1).await, [format!("b@{put}")]);
}

#[tokio::test]
async fn a_watch_that_follows_survives_a_compaction_of_what_has_just_happened() {
    let server = TestServer::start().await;
    for _ in 0..200 {
        server.put("a", "old").await;
    }
    let mut watch = server.watch().await;
    watch.create(on_key("a")).await;
    let mut kv = server.kv();
    let mut compacting = kv.clone();
    for round in 0..50 {
        // Both at once, so that mostly they are applied, and seen, together.
        let revision = 202 + round;
        let compact = compacting.compact(pb::CompactionRequest { revision, physical: false });
        let put = kv.put(put_request("a", "new"));
        let (put, _) = tokio::join!(put, compact);
        assert_eq!(put.unwrap().into_inner().header.unwrap().revision, revision);
        assert_eq!(watch.events(1).await, [format!("a@{revision}")]);
    }
}

#[tokio::test]
async fn progress_is_told_when_asked_for_and_never_ahead_of_events() {
    let server = TestServer::start().await;
    // So many that changes are gathered for a moment before anybody is told.
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = server.watch().await;
        other.create(on_key("c")).await;
        others.push(other);
    }
    for _ in 0..30 {
        let mut without_watches = server.watch().await;
        server.put("c", "1").await;
        let present = server.put("c", "1").await;
        without_watches.ask_progress().await;
        let empty = without_watches.next().await;
        assert_eq!((empty.watch_id, empty.events.len(), empty.header.unwrap().revision), (-1, 0, present));
    }

    // More than one batch, and more than the connection takes before the client reads.
    let value = "v".repeat(100_000);
    let first = server.put("a", &value).await;
    let mut last = first;
    for _ in 1..50 {
        last = server.put("a", &value).await;
    }
    let mut watch = server.watch().await;
    watch.create(on_key("b")).await;
    watch.create(pb::WatchCreateRequest { start_revision: first, ..on_key("a") }).await;
    watch.ask_progress().await;
    let mut told = first - 1;
    loop {
        let response = watch.next().await;
        if response.watch_id == -1 {
            assert_eq!(response.header.unwrap().revision, last);
            break;
        }
        for event in &response.events {
            told += 1;
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, told);
        }
    }
    assert_eq!(told, last, "progress came before events");
}

#[tokio::test]
async fn progress_is_not_told_while_a_watch_of_the_stream_waits_for_a_later_revision() {
    let server = TestServer::start().await;
    for future_first in [false, true] {
        let current = server.put("a", "0").await;
        let mut watch = server.watch().await;
        let future = pb::WatchCreateRequest { start_revision: current + 3, ..on_key("b") };
        let requests = [on_key("a"), future];
        for number in 0..2 {
            watch.create(requests[usize::from(future_first) ^ number].clone()).await;
        }
        watch.ask_progress().await;
        let put = server.put("a", "1").await;
        let next = watch.next().await;
        assert_eq!(next.events.iter().map(short).collect::<Vec<_>>(), [format!("a@{put}")], "{next:?}");
        server.put("c", "1").await;
        let last = server.put("b", "1").await;
        assert_eq!(watch.events(1).await, [format!("b@{last}")]);
        watch.ask_progress().await;
        let progress = watch.next().await;
        assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, last));
    }
}

#[tokio::test]
async fn an_idle_watch_is_told_the_revision_now_and_then() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(ruvector_server::Limits { watch_progress_seconds: 1, ..Default::default() });
    })
    .await;
    let mut watch = server.watch().await;
    watch.create(on_key("quiet")).await;
    watch.create(pb::WatchCreateRequest { progress_notify: true, ..on_key("a") }).await;
    let last = server.put("b", "1").await;
    loop {
        let progress = watch.next().await;
        assert_eq!((progress.watch_id, progress.events.len()), (1, 0), "{progress:?}");
        if progress.header.unwrap().revision == last {
            break;
        }
    }
}

#[tokio::test]
async fn progress_is_told_behind_what_a_slow_client_has_not_been_told_yet() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    watch.create(on_key("a")).await;
    watch.create(on_key("z")).await;
    watch.ask_progress().await;
    assert_eq!(watch.next().await.watch_id, -1, "both have caught up, and are marked for what comes");
    // More than the connection takes before the client reads, so that most of it waits.
    let value = "v".repeat(100_000);
    for _ in 0..80 {
        server.put("a", &value).await;
    }
    let last = server.put("z", "v").await;
    watch.ask_progress().await;
    let mut told = 1;
    loop {
        let response = watch.next().await;
        let revision = response.header.unwrap().revision;
        if response.watch_id == -1 {
            assert_eq!((told, revision), (last, last), "progress came before events");
            break;
        }
        for event in &response.events {
            told += 1;
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, told);
        }
        assert_eq!(revision, told, "an answer that speaks of more than it tells");
    }
}
