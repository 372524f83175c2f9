//! Random commands over few keys, leases and revisions, so that they often meet.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use ruvector_state_machine::kv::*;

const LONG_KEY: &[u8] = b"b/a key that is longer than what a node holds in place";

/// One step of a random run: how far the clock moves, in milliseconds, and what is applied then, if anything.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) elapsed_ms: u64,
    pub(crate) command: Option<Command>,
}

pub(crate) fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let elapsed_ms = prop_oneof![5 => Just(0), 3 => 1_u64..400, 1 => 400_u64..4_000];
    let step = (elapsed_ms, prop::option::weighted(0.95, any_command()));
    vec(step.prop_map(|(elapsed_ms, command)| Step { elapsed_ms, command }), 1..70)
}

/// In half of the runs small enough to be reached.
pub(crate) fn any_limits() -> impl Strategy<Value = StoreLimits> {
    prop_oneof![
        1 => Just(StoreLimits::default()),
        1 => (1_usize..5)
            .prop_map(|expiry_steps_max| StoreLimits { expiry_steps_max, ..StoreLimits::default() }),
    ]
}

/// Often so little that it is reached.
pub(crate) fn any_retention() -> impl Strategy<Value = Retention> {
    (prop::option::of(0_u64..3_000), prop::option::of(0_u64..3_000))
        .prop_map(|(age_ms, bytes)| Retention { age_ms, bytes })
}

pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    let revision = -1_i64..40;
    prop_oneof![
        12 => any_put().prop_map(Command::Put),
        4 => any_delete().prop_map(Command::Delete),
        8 => any_txn().prop_map(Command::Txn),
        2 => revision.prop_map(|revision| Command::Compact { revision: Revision(revision) }),
        3 => (any_lease_id(), any_ttl()).prop_map(|(id, ttl_seconds)| Command::LeaseGrant { id, ttl_seconds }),
        1 => any_lease_id().prop_map(|id| Command::LeaseRevoke { id }),
        2 => vec(any_lease_id(), 0..4).prop_map(|ids| Command::LeaseRenew { ids }),
    ]
}

fn any_ttl() -> impl Strategy<Value = i64> {
    prop_oneof![10 => 1_i64..4, 1 => Just(0), 1 => Just(LEASE_TTL_SECONDS_MAX + 1)]
}

fn any_lease_id() -> impl Strategy<Value = LeaseId> {
    prop_oneof![20 => 1_i64..4, 1 => -1_i64..1].prop_map(LeaseId)
}

fn any_key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec![&b"a"[..], b"b", b"c", b"d", b"\0", b"b\0", LONG_KEY])
        .prop_map(Bytes::from_static)
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec![&b""[..], b"1", b"2", b"3"]).prop_map(Bytes::from_static)
}

pub(crate) fn any_range() -> impl Strategy<Value = KeyRange> {
    let range_end = prop_oneof![
        4 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        4 => any_key(),
    ];
    (any_key(), range_end).prop_map(|(key, range_end)| KeyRange { key, range_end })
}

fn any_put() -> impl Strategy<Value = PutRequest> {
    let lease = prop::option::weighted(0.3, any_lease_id());
    let rarely = || prop::bool::weighted(0.1);
    (any_key(), any_value(), lease, any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn any_delete() -> impl Strategy<Value = DeleteRequest> {
    (any_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRequest { range, prev_kv })
}

pub(crate) fn any_range_request() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![5 => Just(0_i64), 1 => 1_i64..30].prop_map(Revision);
    let revision = prop::option::weighted(0.3, (-2_i64..40).prop_map(Revision));
    let limit = prop_oneof![Just(0_i64), -1_i64..5];
    let sort = prop::option::weighted(0.4, any_sort());
    let bounds = (bound(), bound(), bound(), bound());
    (any_range(), revision, limit, sort, any::<bool>(), prop::bool::weighted(0.1), bounds).prop_map(
        |(range, revision, limit, sort, keys_only, count_only, bounds)| RangeRequest {
            range,
            revision,
            limit,
            sort,
            keys_only,
            count_only,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}

fn any_sort() -> impl Strategy<Value = (SortTarget, SortOrder)> {
    use SortTarget::{Create, Key, Mod, Value, Version};
    (
        prop::sample::select(vec![Key, Version, Create, Mod, Value]),
        prop::sample::select(vec![SortOrder::Ascend, SortOrder::Descend]),
    )
}

fn any_compare() -> impl Strategy<Value = Compare> {
    use CompareOperator::{Equal, Greater, Less, NotEqual, Unknown};
    let target = prop_oneof![
        (0_i64..4).prop_map(CompareTarget::Version),
        (0_i64..30).prop_map(|revision| CompareTarget::Create(Revision(revision))),
        (0_i64..30).prop_map(|revision| CompareTarget::Mod(Revision(revision))),
        any_value().prop_map(CompareTarget::Value),
        (0_i64..4).prop_map(CompareTarget::Lease),
        Just(CompareTarget::Unknown),
    ];
    (any_range(), target, prop::sample::select(vec![Equal, Greater, Less, NotEqual, Unknown]))
        .prop_map(|(range, target, operator)| Compare { range, target, operator })
}

pub(crate) fn any_read_only_txn() -> impl Strategy<Value = TxnRequest> {
    let read = any_range_request().prop_map(TxnOp::Range);
    txn_of(read.prop_recursive(2, 6, 3, |inner| txn_of(inner).prop_map(TxnOp::Txn)))
}

fn any_txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        any_range_request().prop_map(TxnOp::Range),
        any_put().prop_map(TxnOp::Put),
        any_delete().prop_map(TxnOp::Delete),
    ];
    let op = leaf.prop_recursive(3, 12, 3, |inner| txn_of(inner).prop_map(TxnOp::Txn));
    txn_of(op)
}

fn txn_of(op: impl Strategy<Value = TxnOp> + Clone) -> impl Strategy<Value = TxnRequest> {
    (vec(any_compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..3))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}
