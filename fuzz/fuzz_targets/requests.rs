//! What clients send: etcd's requests as protobuf of any bytes, checked, converted, done and answered as the server
//! does it.
//!
//! What must hold: no panic; a request that is refused makes no revision, and none is refused as the server's own
//! fault; an answer tells the store's revision and can be decoded again; a watch tells no key but one that it asked
//! for, in order of revisions; and memory is within bounds.

#![no_main]

use arbitrary::Unstructured;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use ruvector_api::etcdserverpb::{self as pb, ResponseHeader};
use ruvector_fuzz::{byte, piece, within_memory};
use ruvector_server::fuzzing::Store;
use tonic::{Code, Status};

/// A transaction may read everything as often as it has operations.
const MEMORY_FIXED_BYTES: usize = 64 << 20;
const MEMORY_FACTOR: usize = 4_000;

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut store = Store::default();
    while !input.is_empty() {
        let kind = byte(&mut input);
        // From no time at all to longer than most leases live.
        store.pass_ms(u64::from(kind >> 4).pow(4));
        let request = Bytes::copy_from_slice(piece(&mut input));
        let before = store.view().revision();
        if !is_done(&mut store, kind % 8, request) {
            let after = store.view().revision();
            assert_eq!(after, before, "a refused request made a revision");
        }
    }
}

fn is_done(store: &mut Store, kind: u8, request: Bytes) -> bool {
    match kind {
        0 => answered(store, request, |store, request| store.range(request), |response| response.header),
        1 => answered(store, request, Store::put, |response| response.header),
        2 => answered(store, request, Store::delete_range, |response| response.header),
        3 => answered(store, request, Store::txn, |response| response.header),
        4 => answered(store, request, Store::compact, |response| response.header),
        5 => answered(store, request, Store::lease_grant, |response| response.header),
        6 => answered(store, request, Store::lease_revoke, |response| response.header),
        _ => watched(store, request),
    }
}

fn answered<Request: Message + Default, Response: Message + Default + PartialEq>(
    store: &mut Store,
    request: Bytes,
    answer: impl Fn(&mut Store, Request) -> Result<Response, Status>,
    header: impl Fn(&Response) -> Option<ResponseHeader>,
) -> bool {
    let Ok(request) = Request::decode(request) else { return false };
    match answer(store, request) {
        Ok(response) => {
            let revision = header(&response).map(|header| header.revision);
            assert_eq!(revision, Some(store.view().revision().0), "an answer tells another revision");
            let again = Response::decode(&response.encode_to_vec()[..]);
            assert!(again.is_ok_and(|again| again == response), "an answer is decoded as something else");
            true
        }
        Err(status) => {
            assert!(
                !matches!(status.code(), Code::Internal | Code::Unknown),
                "refused as a defect: {status}"
            );
            false
        }
    }
}

fn watched(store: &Store, request: Bytes) -> bool {
    let Ok(request) = pb::WatchRequest::decode(request) else { return false };
    let Some(pb::watch_request::RequestUnion::CreateRequest(request)) = request.request_union else {
        return false;
    };
    let (first, is_one) = (request.key.clone(), request.range_end.is_empty() && !request.key.is_empty());
    let Ok(Some(events)) = store.watch(request) else { return false };
    let mut last = 0;
    for kv in events.into_iter().filter_map(|event| event.kv) {
        assert!(kv.key >= first && (!is_one || kv.key == first), "a watch tells another key");
        assert!(kv.mod_revision >= last, "a watch goes back to revision {}", kv.mod_revision);
        last = kv.mod_revision;
    }
    true
}
