//! The differences that are meant to be: each is also in `docs/ETCD_DIFFERENCES.md`, with the reason for users.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use ruvector_api::etcdserverpb::request_op::Request;

use crate::comparison::Difference;
use crate::fields::Fields;
use crate::program::{Action, Step};

/// The type of an event that tells of a deletion, as it is shown.
const DELETION: &str = "1";

/// A difference that is meant to be.
#[derive(Clone, Copy)]
pub struct Announced {
    /// A short name for reports.
    pub name: &'static str,
    /// Why it is so.
    pub reason: &'static str,
    /// Whether the systems' states may not be the same afterwards.
    pub parts: bool,
    covers: fn(&Meeting<'_>) -> bool,
}

/// Where a difference was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'meeting> {
    pub(crate) step: &'meeting Step,
    pub(crate) etcd: &'meeting Fields,
    pub(crate) ours: &'meeting Fields,
    pub(crate) difference: &'meeting Difference,
}

/// All of them. (The ids of cluster and member and the term, which are each system's own, are not compared at all.)
pub const ANNOUNCED: &[Announced] = &[
    Announced {
        name: "a limit with a sort target and no sort order",
        reason: "the first of all keys in that order; etcd sorts the first keys of the range, one more than the limit",
        parts: false,
        covers: |meeting| meeting.difference.way.contains("kvs[") && meeting.asks(limits_before_sorting),
    },
    Announced {
        name: "progress while a watch waits for a later revision",
        reason: "not told: it counts for all watches of the stream, and this one has not come so far; 3.4.23 tells every \
                 request the present revision, whatever its watches were told",
        parts: true,
        covers: |meeting| meeting.difference.way.contains(".watch -1.") && meeting.difference.ours.is_none(),
    },
    Announced {
        name: "unknown sort order or target",
        reason: "refused with `invalid sort option`, as by etcd from 3.5 on; 3.4 does not sort by an unknown order, and crashes \
                 on an unknown target",
        parts: true,
        covers: |meeting| {
            meeting.refused_with("etcdserver: invalid sort option") && meeting.asks(sorts_oddly)
        },
    },
    Announced {
        name: "a put beside a deletion to the end of all keys",
        reason: "refused with `duplicate key given in txn request`, as beside every other deletion of its key; \
                 etcd takes the end \\0 for one that is before the key, and sees no overlap",
        parts: true,
        covers: |meeting| {
            meeting.refused_with("etcdserver: duplicate key given in txn request")
                && meeting.asks(deletes_to_the_end)
        },
    },
    Announced {
        name: "the text about a message that is too large",
        reason: "each gRPC library's own; the code is the same",
        parts: false,
        covers: |meeting| {
            let told = |fields: &Fields, text| fields.get("message").is_some_and(|told| told.contains(text));
            meeting.difference.way == "message"
                && told(meeting.etcd, "received message larger than max")
                && told(meeting.ours, "message length too large")
        },
    },
    Announced {
        name: "a deletion at exactly the compacted revision",
        reason: "a watch from there is told of it, as by etcd from 3.5.16 on; 3.4 loses it when the compaction is done",
        parts: true,
        covers: |meeting| {
            meeting.difference.way.starts_with("stream ") && deletions(meeting.ours) > deletions(meeting.etcd)
        },
    },
    Announced {
        name: "a deletion in a nested transaction after a put of its key in an earlier one",
        reason: "refused with `duplicate key given in txn request`, as in the other order; etcd lets it through, against \
                 its own definition",
        parts: true,
        covers: |meeting| meeting.refused_with("etcdserver: duplicate key given in txn request"),
    },
    Announced {
        name: "not yet: the revision that a request for progress is told",
        reason: "an older one on a node that nobody watches",
        parts: false,
        covers: |meeting| {
            meeting.difference.way.contains(".watch -1.")
                && meeting.difference.way.ends_with("header.revision")
        },
    },
];

/// The announced difference that this one is.
pub(crate) fn find(meeting: &Meeting<'_>) -> Option<&'static Announced> {
    ANNOUNCED.iter().find(|announced| (announced.covers)(meeting))
}

impl Meeting<'_> {
    /// Whether our nodes refused the request, with this error.
    fn refused_with(&self, message: &str) -> bool {
        self.ours.get("message") == Some(&format!("{message:?}"))
    }

    /// Whether the request, or an operation in it at any depth, is such a one.
    fn asks(&self, such: fn(&Request) -> bool) -> bool {
        match &self.step.action {
            Some(Action::Range(range)) => such(&Request::RequestRange(range.clone())),
            Some(Action::Txn(txn)) => any_operation(txn, such),
            Some(_) | None => false,
        }
    }
}

/// How many events of deletions there are.
fn deletions(fields: &Fields) -> usize {
    fields.0.iter().filter(|(way, kind)| way.ends_with("].type") && kind == DELETION).count()
}

fn any_operation(txn: &pb::TxnRequest, such: fn(&Request) -> bool) -> bool {
    let operations =
        txn.success.iter().chain(&txn.failure).filter_map(|operation| operation.request.as_ref());
    operations.into_iter().any(|operation| match operation {
        Request::RequestTxn(inner) => any_operation(inner, such),
        Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_) => such(operation),
    })
}

fn sorts_oddly(operation: &Request) -> bool {
    match operation {
        Request::RequestRange(range) => {
            SortOrder::try_from(range.sort_order).is_err() || SortTarget::try_from(range.sort_target).is_err()
        }
        Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_) => false,
    }
}

fn limits_before_sorting(operation: &Request) -> bool {
    match operation {
        Request::RequestRange(range) => range.limit > 0 && range.sort_order == 0 && range.sort_target != 0,
        Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_) => false,
    }
}

fn deletes_to_the_end(operation: &Request) -> bool {
    match operation {
        Request::RequestDeleteRange(delete) => delete.range_end == b"\0"[..],
        Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestTxn(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told_to_users() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ETCD_DIFFERENCES.md");
        let told = std::fs::read_to_string(file).unwrap();
        for announced in ANNOUNCED.iter().filter(|announced| !announced.name.starts_with("not yet: ")) {
            assert!(
                told.contains(announced.name),
                "docs/ETCD_DIFFERENCES.md does not name: {}",
                announced.name
            );
        }
    }
}
