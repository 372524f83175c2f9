//! The differences that are meant to be: each is also in `docs/ETCD_DIFFERENCES.md`, with the reason for users.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use ruvector_api::etcdserverpb::request_op::Request;

use crate::difference::Difference;
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
        covers: |meeting| {
            let Difference { way, ours, .. } = meeting.difference;
            way.contains(".watch -1.")
                && (ours.is_none() || way.ends_with(".length"))
                && lacks_progress(meeting)
        },
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
        covers: lacks_first_deletions,
    },
    Announced {
        name: "a deletion in a nested transaction after a put of its key in an earlier one",
        reason: "refused with `duplicate key given in txn request`, as in the other order; etcd lets it through, against \
                 its own definition",
        parts: true,
        covers: |meeting| meeting.refused_with("etcdserver: duplicate key given in txn request"),
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

/// Whether all that etcd lacks of what the watch was told are deletions of the very first revision.
fn lacks_first_deletions(meeting: &Meeting<'_>) -> bool {
    let way = &meeting.difference.way;
    let Some(watch) = way.find("watch ").and_then(|at| Some(&way[..at + way[at..].find('.')?])) else {
        return false;
    };
    let (etcd, ours) = (events(meeting.etcd, watch), events(meeting.ours, watch));
    let lacks = |(etcd, ours): (&Vec<Event<'_>>, &Vec<Event<'_>>)| {
        let Some(first) = ours.first() else { return etcd.is_empty() };
        let mut told = etcd.iter().peekable();
        let is_excused = |event: &Event<'_>| event.kind == DELETION && event.revision == first.revision;
        let others_are_told = ours.iter().all(|event| told.next_if_eq(&event).is_some() || is_excused(event));
        others_are_told && told.peek().is_none()
    };
    etcd != ours && etcd.len() == ours.len() && etcd.iter().zip(&ours).all(lacks)
}

/// Whether our nodes said less of no particular watch, which is where progress is told.
fn lacks_progress(meeting: &Meeting<'_>) -> bool {
    let way = &meeting.difference.way;
    let Some(watch) = way.find(".watch -1.").map(|at| &way[..at + ".watch -1".len()]) else { return false };
    let said = |fields: &Fields| length(fields, watch);
    said(meeting.ours) < said(meeting.etcd)
}

/// What is compared of a change to find the ones that etcd lacks.
#[derive(PartialEq, Eq)]
struct Event<'fields> {
    kind: &'fields str,
    key: &'fields str,
    revision: &'fields str,
}

/// The changes that a watch was told, and then those that the next one of its id was told, and so on.
fn events<'fields>(fields: &'fields Fields, watch: &str) -> Vec<Vec<Event<'fields>>> {
    let field = |number: usize, name: &str| fields.get(&format!("{watch}.[{number}]{name}"));
    let event = |number| {
        let (kind, key) = (field(number, ".type")?, field(number, ".kv.key")?);
        Some(Event { kind, key, revision: field(number, ".kv.mod_revision")? })
    };
    let mut watches = vec![Vec::new()];
    for number in 0..length(fields, watch) {
        if field(number, "").is_some_and(|said| said.starts_with("created true")) {
            watches.push(Vec::new());
        }
        watches.last_mut().into_iter().for_each(|told| told.extend(event(number)));
    }
    watches
}

/// How much was said of a watch.
fn length(fields: &Fields, watch: &str) -> usize {
    fields.get(&format!("{watch}.length")).and_then(|length| length.parse().ok()).unwrap_or(0)
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

    /// A stream on which two watches, one after the other, had one id and were told: type, key, revision.
    fn told(first: &[(&str, &str, &str)], second: &[(&str, &str, &str)]) -> Fields {
        let watch = "stream 1.watch 0";
        let mut fields = Fields::default();
        let mut number = 0;
        for changes in [first, second] {
            fields.0.push((format!("{watch}.[{number}]"), "created true canceled false".to_owned()));
            number += 1;
            for (kind, key, revision) in changes {
                for (name, value) in [("type", kind), ("kv.key", key), ("kv.mod_revision", revision)] {
                    fields.0.push((format!("{watch}.[{number}].{name}"), (*value).to_owned()));
                }
                number += 1;
            }
        }
        fields.0.push((format!("{watch}.length"), number.to_string()));
        fields
    }

    fn meets(covers: fn(&Meeting<'_>) -> bool, way: &str, etcd: &Fields, ours: &Fields) -> bool {
        let difference = Difference { way: way.to_owned(), etcd: None, ours: None };
        covers(&Meeting { step: &Step::default(), etcd, ours, difference: &difference })
    }

    #[test]
    fn only_deletions_of_the_first_revision_may_be_lacking() {
        let (put, deleted) = (("0", "a", "5"), ("1", "b", "5"));
        let (later, deleted_later) = (("0", "c", "6"), ("1", "d", "6"));
        let before = [("0", "a", "3"), later];
        let all = told(&before, &[put, deleted, later, deleted_later]);
        for (etcd, is_covered) in [
            (vec![put, later, deleted_later], true),
            (vec![deleted, later, deleted_later], false),
            (vec![put, deleted, later], false),
            (vec![put, later], false),
            (vec![put, later, deleted_later, deleted_later], false),
            (vec![put, deleted, later, deleted_later], false),
        ] {
            let way = "stream 1.watch 0.[2].kv.key";
            let covered = meets(lacks_first_deletions, way, &told(&before, &etcd), &all);
            assert_eq!(covered, is_covered, "{etcd:?}");
        }
    }

    #[test]
    fn less_progress_may_be_told_and_not_more() {
        let watch = |length: usize| Fields(vec![("stream 1.watch -1.length".to_owned(), length.to_string())]);
        for (etcd, ours, is_covered) in [(2, 1, true), (1, 1, false), (1, 2, false)] {
            let covered = meets(lacks_progress, "stream 1.watch -1.length", &watch(etcd), &watch(ours));
            assert_eq!(covered, is_covered, "{etcd} and {ours}");
        }
    }

    #[test]
    fn every_difference_is_told_to_users() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ETCD_DIFFERENCES.md");
        let told = std::fs::read_to_string(file).unwrap();
        for announced in ANNOUNCED {
            assert!(
                told.contains(announced.name),
                "docs/ETCD_DIFFERENCES.md does not name: {}",
                announced.name
            );
        }
    }
}
