//! Reading keys.

use std::cmp::Ordering;

use super::command::{KvError, RangeRequest, RangeResponse, Revision, SortOrder, SortTarget};
use super::store::Store;
use super::stored::{StoredVersion, Version};
use super::versions::ReadPoint;

impl Store {
    /// Reads keys as etcd does: the count is of the whole range, whatever the filters and the limit; filters
    /// come before sorting, sorting before the limit.
    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let point = self.read_point(request.revision)?;
        let visible = self.visible(&request.range, point);
        if request.count_only {
            return Ok(RangeResponse { kvs: Vec::new(), more: false, count: as_count(visible.count()) });
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let (mut kvs, count) = match limit {
            Some(limit) if takes_the_first(request) => collect_first(visible, limit.saturating_add(1)),
            Some(_) | None => {
                let kvs: Vec<_> = visible.collect();
                let count = kvs.len();
                (kvs, count)
            }
        };
        kvs.retain(|version| passes_filters(request, &version.parts()));
        if let Some((target, order)) = request.sort {
            kvs.sort_by(|left, right| compare_for_sort(target, order, &left.parts(), &right.parts()));
        }
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        let kvs = kvs.into_iter().map(|version| match request.keys_only {
            true => version.key_value_without_value(),
            false => version.key_value(),
        });
        Ok(RangeResponse { kvs: kvs.collect(), more, count: as_count(count) })
    }

    /// Where a read that asks for `revision` looks. As in etcd, what is not positive asks for the present,
    /// and the compacted revision itself can still be read.
    pub(super) fn read_point(&self, revision: Option<Revision>) -> Result<ReadPoint, KvError> {
        match revision.filter(|revision| revision.0 > 0) {
            None => Ok(ReadPoint::Newest),
            Some(requested) if requested > self.revision => {
                Err(KvError::FutureRevision { requested, current: self.revision })
            }
            Some(requested) if requested < self.compacted => {
                Err(KvError::Compacted { requested, compacted: self.compacted })
            }
            Some(requested) => Ok(ReadPoint::At(requested)),
        }
    }
}

/// Whether the answer is simply the first keys of the range, so that the others need only be counted.
fn takes_the_first(request: &RangeRequest) -> bool {
    let unfiltered = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ]
    .iter()
    .all(|bound| bound.0 == 0);
    unfiltered && request.sort.is_none()
}

/// The first few and the number of all.
fn collect_first<'store>(
    visible: impl Iterator<Item = &'store StoredVersion>,
    limit: usize,
) -> (Vec<&'store StoredVersion>, usize) {
    let mut first = Vec::new();
    let mut count = 0;
    for kv in visible {
        count += 1;
        if first.len() < limit {
            first.push(kv);
        }
    }
    (first, count)
}

fn passes_filters(request: &RangeRequest, version: &Version<'_>) -> bool {
    within(version.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(version.create_revision, request.min_create_revision, request.max_create_revision)
}

/// A bound of 0 is none.
pub(super) fn within(revision: Revision, min: Revision, max: Revision) -> bool {
    (min.0 == 0 || revision >= min) && (max.0 == 0 || revision <= max)
}

fn compare_for_sort(
    target: SortTarget,
    order: SortOrder,
    left: &Version<'_>,
    right: &Version<'_>,
) -> Ordering {
    let ascending = match target {
        SortTarget::Key => left.key.cmp(right.key),
        SortTarget::Version => left.version.cmp(&right.version),
        SortTarget::Create => left.create_revision.cmp(&right.create_revision),
        SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
        SortTarget::Value => left.value.cmp(right.value),
    };
    match order {
        SortOrder::Ascend => ascending,
        SortOrder::Descend => ascending.reverse(),
    }
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).expect("memory holds fewer than 2^63 keys")
}
