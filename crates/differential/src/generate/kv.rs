//! Reads, writes, deletions and compactions.

use ruvector_api::etcdserverpb as pb;

use super::{key, lease, range_end, revision, value};
use crate::chance::Chance;
use crate::program::Action;
use crate::symbols::NOW;

pub(super) fn action(chance: &mut Chance) -> Action {
    match chance.between(0, 9) {
        0..=3 => Action::Range(range(chance)),
        4..=7 => Action::Put(put(chance)),
        _ => Action::Delete(delete(chance)),
    }
}

pub(super) fn range(chance: &mut Chance) -> pb::RangeRequest {
    let key = key(chance);
    let range_end = range_end(chance, &key);
    let bound = |chance: &mut Chance| if chance.percent(85) { 0 } else { revision(chance) };
    pb::RangeRequest {
        limit: if chance.percent(60) { 0 } else { chance.pick(&[1, 2, 3, 5, -1, i64::MAX, i64::MIN]) },
        revision: if chance.percent(60) { 0 } else { revision(chance) },
        sort_order: sort_order(chance),
        // Never an unknown one: etcd 3.4 crashes then.
        sort_target: sort_target(chance),
        serializable: chance.percent(30),
        keys_only: chance.percent(15),
        count_only: chance.percent(15),
        min_mod_revision: bound(chance),
        max_mod_revision: bound(chance),
        min_create_revision: bound(chance),
        max_create_revision: bound(chance),
        key,
        range_end,
    }
}

pub(super) fn put(chance: &mut Chance) -> pb::PutRequest {
    let ignore_value = chance.percent(8);
    let ignore_lease = chance.percent(8);
    let keeps = |chance: &mut Chance, ignores| ignores && chance.percent(80);
    pb::PutRequest {
        key: key(chance),
        value: if keeps(chance, ignore_value) { "".into() } else { value(chance) },
        lease: if keeps(chance, ignore_lease) || chance.percent(70) { 0 } else { lease::id(chance) },
        prev_kv: chance.percent(40),
        ignore_value,
        ignore_lease,
    }
}

pub(super) fn delete(chance: &mut Chance) -> pb::DeleteRangeRequest {
    let key = key(chance);
    // Whole ranges are deleted seldom: most other requests need keys.
    let range_end = if chance.percent(50) { "".into() } else { range_end(chance, &key) };
    pb::DeleteRangeRequest { key, range_end, prev_kv: chance.percent(50) }
}

pub(super) fn compact(chance: &mut Chance) -> Action {
    let revision = if chance.percent(60) { NOW - chance.between(0, 8) } else { revision(chance) };
    Action::Compact(pb::CompactionRequest { revision, physical: chance.percent(30) })
}

fn sort_order(chance: &mut Chance) -> i32 {
    chance.weighted(&[(0, 80), (1, 40), (2, 60), (3, 1), (-1, 1)])
}

fn sort_target(chance: &mut Chance) -> i32 {
    chance.weighted(&[(0, 60), (1, 20), (2, 20), (3, 20), (4, 20)])
}
