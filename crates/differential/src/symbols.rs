//! What stands in programs for numbers that are not the same in both systems.
//!
//! Revisions go on from program to program, and a system chooses the ids of leases that are granted without one. So a
//! program says "two before the present revision" and "the first lease whose id was chosen"; and answers are shown
//! by how far a revision is from that at which the program began.

use std::ops::RangeInclusive;

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;

/// The present revision; what is added to it is added to the revision. No system gets there.
pub const NOW: i64 = 1 << 50;
const NOW_REACH: i64 = 1 << 20;
/// How far before the beginning of a program a revision is shown as a distance from it.
const BEFORE_SHOWN: i64 = 80;
/// The first lease whose id was chosen by the system, and after it the next ones.
pub const CHOSEN: i64 = 1 << 52;
const CHOSEN_REACH: i64 = 1 << 20;

/// How far from [`NOW`] a number may be to be meant relative to it.
const RELATIVE: RangeInclusive<i64> = NOW - NOW_REACH..=NOW + NOW_REACH;

/// What a large value begins with in a program; its length in bytes follows. So programs stay small.
const LARGE: &[u8] = b"\0large:";

/// The symbol for a value of so many bytes.
#[must_use]
pub fn large_value(bytes: i64) -> Bytes {
    [LARGE, bytes.to_string().as_bytes()].concat().into()
}

/// The value that a program says.
#[must_use]
pub fn value(said: &Bytes) -> Bytes {
    let length = said.strip_prefix(LARGE).and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    length.map_or_else(|| said.clone(), |length| vec![b'v'; length].into())
}

/// What the symbols stand for in one system.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// The revision at which the program began.
    pub base: i64,
    /// The present revision.
    pub now: i64,
    /// The revision through which history was forgotten.
    pub compacted: i64,
    /// The ids that the system chose.
    pub chosen: Vec<i64>,
}

impl Symbols {
    /// The system's revision for what a program says.
    #[must_use]
    pub fn revision(&self, said: i64) -> i64 {
        if RELATIVE.contains(&said) { self.now + (said - NOW) } else { said }
    }

    /// The system's lease id for what a program says. An id that was never chosen stays as it is.
    #[must_use]
    pub fn lease(&self, said: i64) -> i64 {
        let number = said.checked_sub(CHOSEN).and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.chosen.get(number)).copied().unwrap_or(said)
    }

    /// Notes the revision of an answer.
    pub fn see_revision(&mut self, revision: i64) {
        self.now = self.now.max(revision);
    }

    /// A revision as it is shown: from where the program began, and what is far before that as it is.
    #[must_use]
    pub fn show_revision(&self, revision: i64) -> String {
        match revision.checked_sub(self.base) {
            Some(distance) if self.base > 0 && (-BEFORE_SHOWN..NOW_REACH).contains(&distance) => {
                format!("base{distance:+}")
            }
            Some(_) | None => revision.to_string(),
        }
    }

    /// A lease id as it is shown.
    #[must_use]
    pub fn show_lease(&self, id: i64) -> String {
        match self.chosen.iter().position(|chosen| *chosen == id) {
            Some(number) => format!("chosen-{number}"),
            None if (CHOSEN..CHOSEN + CHOSEN_REACH).contains(&id) => "never-chosen".to_owned(),
            None => id.to_string(),
        }
    }

    /// Puts the system's numbers into a read.
    pub fn resolve_range(&self, request: &mut pb::RangeRequest) {
        for revision in [
            &mut request.revision,
            &mut request.min_mod_revision,
            &mut request.max_mod_revision,
            &mut request.min_create_revision,
            &mut request.max_create_revision,
        ] {
            *revision = self.revision(*revision);
        }
    }

    /// Puts the system's numbers into a write.
    pub fn resolve_put(&self, request: &mut pb::PutRequest) {
        request.lease = self.lease(request.lease);
        request.value = value(&request.value);
    }

    /// Puts the system's numbers into a transaction.
    pub fn resolve_txn(&self, request: &mut pb::TxnRequest) {
        use pb::compare::TargetUnion;
        use pb::request_op::Request;
        for compare in &mut request.compare {
            match &mut compare.target_union {
                Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) => {
                    *revision = self.revision(*revision);
                }
                Some(TargetUnion::Lease(lease)) => *lease = self.lease(*lease),
                Some(TargetUnion::Version(_) | TargetUnion::Value(_)) | None => {}
            }
        }
        for operation in request.success.iter_mut().chain(&mut request.failure) {
            match &mut operation.request {
                Some(Request::RequestRange(request)) => self.resolve_range(request),
                Some(Request::RequestPut(request)) => self.resolve_put(request),
                Some(Request::RequestTxn(request)) => self.resolve_txn(request),
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
    }

    /// Puts the system's numbers into what is said on a watch stream.
    pub fn resolve_watch(&self, request: &mut pb::WatchRequest) {
        use pb::watch_request::RequestUnion;
        if let Some(RequestUnion::CreateRequest(request)) = &mut request.request_union {
            request.start_revision = self.revision(request.start_revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_resolved_and_other_numbers_are_not() {
        let symbols = Symbols { base: 100, now: 105, compacted: 100, chosen: vec![77] };
        assert_eq!(symbols.revision(NOW - 2), 103);
        assert_eq!(symbols.revision(NOW + 1), 106);
        for number in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(symbols.revision(number), number);
            assert_eq!(symbols.lease(number), number);
        }
        assert_eq!(symbols.lease(CHOSEN), 77);
        assert_eq!(symbols.lease(CHOSEN + 1), CHOSEN + 1);
        assert_eq!(symbols.show_revision(105), "base+5");
        assert_eq!(symbols.show_revision(99), "base-1");
        assert_eq!(symbols.show_revision(-1), "-1");
        assert_eq!(symbols.show_lease(77), "chosen-0");
        assert_eq!(value(&large_value(1_000_000)).len(), 1_000_000);
        assert_eq!(value(&"v".into()), "v");
    }
}
