//! The conditions of transactions.

use std::cmp::Ordering;

use super::command::{Compare, CompareOperator, CompareTarget, Revision};
use super::store::Store;
use super::stored::Version;
use super::versions::ReadPoint;

impl Store {
    /// Whether a comparison holds now: for every key of its range, or, if the range has no keys, for a key
    /// whose counters are all zero. A comparison by value never holds for keys that don't exist, because
    /// an empty value would look the same (etcd's `applyCompare`).
    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let mut keys = self.visible(&compare.range, ReadPoint::Newest).peekable();
        if keys.peek().is_none() {
            return match compare.target {
                CompareTarget::Value(_) => false,
                CompareTarget::Version(_)
                | CompareTarget::Create(_)
                | CompareTarget::Mod(_)
                | CompareTarget::Lease(_)
                | CompareTarget::Unknown => holds_for(compare, &Version::tombstone(&[], Revision(0))),
            };
        }
        keys.all(|version| holds_for(compare, &version.parts()))
    }
}

fn holds_for(compare: &Compare, version: &Version<'_>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(number) => version.version.cmp(number),
        CompareTarget::Create(revision) => version.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => version.mod_revision.cmp(revision),
        CompareTarget::Value(value) => version.value.cmp(&value[..]),
        CompareTarget::Lease(lease) => version.lease.map_or(0, |lease| lease.0).cmp(lease),
        CompareTarget::Unknown => Ordering::Equal,
    };
    match compare.operator {
        CompareOperator::Equal => ordering.is_eq(),
        CompareOperator::Greater => ordering.is_gt(),
        CompareOperator::Less => ordering.is_lt(),
        CompareOperator::NotEqual => ordering.is_ne(),
        CompareOperator::Unknown => true,
    }
}
