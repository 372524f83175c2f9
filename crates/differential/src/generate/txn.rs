//! Transactions.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::compare::TargetUnion;
use ruvector_api::etcdserverpb::request_op::Request;

use super::{key, kv, lease, range_end, revision, value};
use crate::chance::Chance;
use crate::program::Action;

/// How deep transactions are nested at most.
const DEPTH_MAX: i64 = 3;

pub(super) fn action(chance: &mut Chance) -> Action {
    Action::Txn(txn(chance, 1))
}

fn txn(chance: &mut Chance, depth: i64) -> pb::TxnRequest {
    let only_reads = chance.percent(15);
    let list = |chance: &mut Chance| {
        let length = chance.weighted(&[(0, 3), (1, 5), (2, 3), (3, 1), (4, 1)]);
        (0..length).map(|_| operation(chance, depth, only_reads)).collect()
    };
    let comparisons = chance.weighted(&[(0, 3), (1, 5), (2, 2), (3, 1)]);
    pb::TxnRequest {
        compare: (0..comparisons).map(|_| compare(chance)).collect(),
        success: list(chance),
        failure: list(chance),
    }
}

fn operation(chance: &mut Chance, depth: i64, only_reads: bool) -> pb::RequestOp {
    let nests = depth < DEPTH_MAX && chance.percent(20);
    let request = match chance.between(0, 99) {
        0 => None,
        _ if nests => Some(Request::RequestTxn(txn(chance, depth + 1))),
        1..=33 => Some(Request::RequestRange(kv::range(chance))),
        _ if only_reads => Some(Request::RequestRange(kv::range(chance))),
        34..=69 => Some(Request::RequestPut(kv::put(chance))),
        _ => Some(Request::RequestDeleteRange(kv::delete(chance))),
    };
    pb::RequestOp { request }
}

fn compare(chance: &mut Chance) -> pb::Compare {
    let key = key(chance);
    let range_end = if chance.percent(70) { "".into() } else { range_end(chance, &key) };
    let target = chance.between(0, 4);
    // Seldom an operand that belongs to another target, or none.
    let operand = if chance.percent(95) { target } else { chance.between(0, 5) };
    let target_union = match operand {
        0 => Some(TargetUnion::Version(chance.pick(&[0, 1, 1, 2, 3, -1, i64::MAX]))),
        1 => Some(TargetUnion::CreateRevision(revision(chance))),
        2 => Some(TargetUnion::ModRevision(revision(chance))),
        3 => Some(TargetUnion::Value(value(chance))),
        4 => Some(TargetUnion::Lease(if chance.percent(30) { 0 } else { lease::id(chance) })),
        _ => None,
    };
    let unknown = chance.percent(1);
    pb::Compare {
        result: if unknown { chance.pick(&[4, -1]) } else { small(chance.between(0, 3)) },
        target: if chance.percent(99) { small(target) } else { chance.pick(&[5, -1]) },
        key,
        target_union,
        range_end,
    }
}

fn small(number: i64) -> i32 {
    i32::try_from(number).expect("a small number")
}
