//! What is said on watch streams.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;

use super::{key, range_end, revision};
use crate::chance::Chance;
use crate::program::{Action, Saying};

/// Streams beside the one that watches everything.
const STREAMS: i64 = 3;

pub(super) fn action(chance: &mut Chance) -> Action {
    let stream = u32::try_from(chance.between(1, STREAMS)).expect("a small number");
    let request = match chance.between(0, 99) {
        0..=69 => Some(Some(RequestUnion::CreateRequest(create(chance)))),
        70..=91 => Some(Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id(chance) }))),
        92..=94 => Some(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))),
        95 => Some(None),
        _ => None,
    };
    let request = request.map(|request_union| pb::WatchRequest { request_union });
    Action::Watch(Saying { stream, request })
}

fn create(chance: &mut Chance) -> pb::WatchCreateRequest {
    let key = if chance.percent(3) { "".into() } else { key(chance) };
    let range_end = range_end(chance, &key);
    let filters = chance.weighted(&[(0, 7), (1, 2), (2, 1)]);
    let filter = |chance: &mut Chance| if chance.percent(95) { small(chance.between(0, 1)) } else { 2 };
    pb::WatchCreateRequest {
        start_revision: revision(chance),
        progress_notify: chance.percent(20),
        filters: (0..filters).map(|_| filter(chance)).collect(),
        prev_kv: chance.percent(50),
        watch_id: if chance.percent(75) { 0 } else { id(chance) },
        fragment: chance.percent(30),
        key,
        range_end,
    }
}

/// The number of a watch that may be there.
fn id(chance: &mut Chance) -> i64 {
    if chance.percent(90) { chance.between(0, 4) } else { chance.pick(&[-1, -2, 100, i64::MAX, i64::MIN]) }
}

fn small(number: i64) -> i32 {
    i32::try_from(number).expect("a small number")
}
