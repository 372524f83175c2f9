//! Values near the limits of requests and responses, and watches that are told of many of them at once.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;

use super::{KEYS, key};
use crate::chance::Chance;
use crate::program::{Action, Saying};
use crate::symbols::{NOW, large_value};

/// A request may have 1.5 MiB, and its message half a MiB more.
const SIZES: [i64; 6] = [100_000, 700_000, 1_500_000, 1_572_000, 1_700_000, 2_500_000];

pub(super) fn action(chance: &mut Chance) -> Action {
    match chance.between(0, 9) {
        0..=2 => Action::Put(put(key(chance), chance.pick(&SIZES))),
        3..=6 => Action::Txn(txn(chance)),
        _ => Action::Watch(watch(chance)),
    }
}

fn put(key: bytes::Bytes, bytes: i64) -> pb::PutRequest {
    pb::PutRequest { key, value: large_value(bytes), ..Default::default() }
}

/// A megabyte in one revision.
fn txn(chance: &mut Chance) -> pb::TxnRequest {
    let mut keys: Vec<&[u8]> = KEYS.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let bytes = 1_000_000 / i64::try_from(keys.len()).expect("a few keys") + chance.between(-30_000, 20_000);
    let success = keys.into_iter().map(|key| {
        let request = Request::RequestPut(put(bytes::Bytes::from_static(key), bytes));
        pb::RequestOp { request: Some(request) }
    });
    pb::TxnRequest { success: success.collect(), ..Default::default() }
}

/// Everything from the beginning.
fn watch(chance: &mut Chance) -> Saying {
    let create = pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: NOW - chance.between(0, 10),
        prev_kv: chance.percent(50),
        fragment: chance.percent(60),
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    Saying { stream: 1, request: Some(request) }
}
