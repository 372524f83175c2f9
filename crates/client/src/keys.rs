//! Keys, ranges of them and their leases, as calls take and give them; and how etcd's messages say the same.

use std::fmt;

use bytes::Bytes;
use ruvector_api::{etcdserverpb as pb, mvccpb};

/// A key with its value and the counters of its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty if only keys were asked for.
    pub value: Bytes,
    /// The store's revision at which the key came into being.
    pub create_revision: i64,
    /// The store's revision at which it was last written.
    pub mod_revision: i64,
    /// Writes since it came into being, counting the first.
    pub version: i64,
    /// The lease that it ends with.
    pub lease: Option<LeaseId>,
}

/// Which keys a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    One(Bytes),
    /// Every key that begins with these bytes; every key there is if they are empty.
    Prefix(Bytes),
    /// From the first, included, to the second, not included.
    Between(Bytes, Bytes),
    /// From this key on.
    From(Bytes),
}

/// Who may answer a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// Any node, after it made sure with the leader that it has everything that was acknowledged before.
    #[default]
    Newest,
    /// Any node, from what it happens to have.
    Local,
}

/// What to give back of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// As it was at this revision; now if `None`.
    pub revision: Option<i64>,
    /// At most so many keys, the first by name.
    pub limit: Option<u32>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Leave keys and values out and only count.
    pub count_only: bool,
    /// Who may answer.
    pub read_from: ReadFrom,
}

/// What a range held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetAnswer {
    /// The store's revision when the answer was made.
    pub revision: i64,
    /// What was found, by key.
    pub key_values: Vec<KeyValue>,
    /// The limit held keys back.
    pub more: bool,
    /// Keys in the range, whatever the limit.
    pub count: u64,
}

/// How to put a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// The lease that the key ends with.
    pub lease: Option<LeaseId>,
    /// Give back what the key held before.
    pub previous: bool,
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAnswer {
    /// The store's revision that the put made.
    pub revision: i64,
    /// What the key held before, if asked for and if it existed.
    pub previous: Option<KeyValue>,
}

/// How to delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Give back what the keys held before.
    pub previous: bool,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteAnswer {
    /// The store's revision afterwards.
    pub revision: i64,
    /// Keys that were deleted.
    pub deleted: u64,
    /// What they held, if asked for.
    pub previous: Vec<KeyValue>,
}

/// The number of a lease, never 0. Written in hexadecimal, as etcd's tools write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

impl KeyRange {
    /// Key and range end as etcd's requests hold them.
    pub(crate) fn into_bounds(self) -> (Bytes, Bytes) {
        match self {
            Self::One(key) => (key, Bytes::new()),
            Self::Prefix(prefix) if prefix.is_empty() => (ZERO, ZERO),
            Self::Prefix(prefix) => {
                let end = end_of_prefix(&prefix);
                (prefix, end)
            }
            Self::Between(first, end) => (first, end),
            Self::From(first) if first.is_empty() => (ZERO, ZERO),
            Self::From(first) => (first, ZERO),
        }
    }
}

/// As a range end it means no end; as a key it is the smallest that is allowed.
const ZERO: Bytes = Bytes::from_static(&[0]);

/// The smallest key that is greater than every key with this prefix.
fn end_of_prefix(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < u8::MAX) {
        Some(position) => {
            let mut end = prefix[..=position].to_vec();
            end[position] += 1;
            end.into()
        }
        None => ZERO,
    }
}

impl<K: Into<Bytes>> From<K> for KeyRange {
    fn from(key: K) -> Self {
        Self::One(key.into())
    }
}

pub(crate) fn put_request(key: Bytes, value: Bytes, options: PutOptions) -> pb::PutRequest {
    pb::PutRequest {
        key,
        value,
        lease: options.lease.map_or(0, |lease| lease.0),
        prev_kv: options.previous,
        ignore_value: false,
        ignore_lease: false,
    }
}

pub(crate) fn range_request(range: KeyRange, options: &GetOptions) -> pb::RangeRequest {
    let (key, range_end) = range.into_bounds();
    pb::RangeRequest {
        key,
        range_end,
        limit: options.limit.map_or(0, i64::from),
        revision: options.revision.unwrap_or(0),
        serializable: options.read_from == ReadFrom::Local,
        keys_only: options.keys_only,
        count_only: options.count_only,
        ..pb::RangeRequest::default()
    }
}

pub(crate) fn delete_request(range: KeyRange, options: DeleteOptions) -> pb::DeleteRangeRequest {
    let (key, range_end) = range.into_bounds();
    pb::DeleteRangeRequest { key, range_end, prev_kv: options.previous }
}

/// The revision of an answer's header; 0, which is no revision, if a server sends none.
pub(crate) fn revision_of(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

impl From<mvccpb::KeyValue> for KeyValue {
    fn from(kv: mvccpb::KeyValue) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
        }
    }
}

impl From<pb::PutResponse> for PutAnswer {
    fn from(response: pb::PutResponse) -> Self {
        Self { revision: revision_of(response.header.as_ref()), previous: response.prev_kv.map(Into::into) }
    }
}

impl From<pb::RangeResponse> for GetAnswer {
    fn from(response: pb::RangeResponse) -> Self {
        Self {
            revision: revision_of(response.header.as_ref()),
            key_values: response.kvs.into_iter().map(Into::into).collect(),
            more: response.more,
            count: u64::try_from(response.count).unwrap_or(0),
        }
    }
}

impl From<pb::DeleteRangeResponse> for DeleteAnswer {
    fn from(response: pb::DeleteRangeResponse) -> Self {
        Self {
            revision: revision_of(response.header.as_ref()),
            deleted: u64::try_from(response.deleted).unwrap_or(0),
            previous: response.prev_kvs.into_iter().map(Into::into).collect(),
        }
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        let bounds = |prefix: &'static [u8]| KeyRange::Prefix(Bytes::from_static(prefix)).into_bounds();
        assert_eq!(bounds(b"ab"), (Bytes::from("ab"), Bytes::from("ac")));
        assert_eq!(bounds(b"a\xff"), (Bytes::from_static(b"a\xff"), Bytes::from("b")));
        assert_eq!(bounds(b"\xff\xff"), (Bytes::from_static(b"\xff\xff"), ZERO));
        assert_eq!(bounds(b""), (ZERO, ZERO));
    }

    fn kv() -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: "k".into(),
            value: "v".into(),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            lease: 4,
        }
    }

    fn expected() -> KeyValue {
        KeyValue {
            key: "k".into(),
            value: "v".into(),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            lease: Some(LeaseId(4)),
        }
    }

    fn header() -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 })
    }

    #[test]
    fn answers_are_told_with_all_their_fields() {
        assert_eq!(KeyValue::from(kv()), expected());
        assert_eq!(KeyValue::from(mvccpb::KeyValue { lease: 0, ..kv() }).lease, None);
        let put = pb::PutResponse { header: header(), prev_kv: Some(kv()) };
        assert_eq!(PutAnswer::from(put), PutAnswer { revision: 9, previous: Some(expected()) });
        let range = pb::RangeResponse { header: header(), kvs: vec![kv(), kv()], more: true, count: 7 };
        let key_values = vec![expected(), expected()];
        assert_eq!(GetAnswer::from(range), GetAnswer { revision: 9, key_values, more: true, count: 7 });
        let delete = pb::DeleteRangeResponse { header: header(), deleted: 6, prev_kvs: vec![kv()] };
        let previous = vec![expected()];
        assert_eq!(DeleteAnswer::from(delete), DeleteAnswer { revision: 9, deleted: 6, previous });
        assert_eq!(revision_of(None), 0);
    }

    #[test]
    fn everything_that_is_asked_for_goes_into_the_request() {
        let options = PutOptions { lease: Some(LeaseId(4)), previous: true };
        let put = pb::PutRequest {
            key: "k".into(),
            value: "v".into(),
            lease: 4,
            prev_kv: true,
            ignore_value: false,
            ignore_lease: false,
        };
        assert_eq!(put_request("k".into(), "v".into(), options), put);
        let options = GetOptions {
            revision: Some(5),
            limit: Some(6),
            keys_only: true,
            count_only: false,
            read_from: ReadFrom::Local,
        };
        let range = pb::RangeRequest {
            key: "k".into(),
            range_end: "l".into(),
            limit: 6,
            revision: 5,
            serializable: true,
            keys_only: true,
            ..pb::RangeRequest::default()
        };
        assert_eq!(range_request(KeyRange::Prefix("k".into()), &options), range);
        let counted = GetOptions { count_only: true, ..GetOptions::default() };
        let range = pb::RangeRequest { key: "k".into(), count_only: true, ..pb::RangeRequest::default() };
        assert_eq!(range_request(KeyRange::One("k".into()), &counted), range);
        let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "m".into(), prev_kv: true };
        let between = KeyRange::Between("k".into(), "m".into());
        assert_eq!(delete_request(between, DeleteOptions { previous: true }), delete);
        assert_eq!(KeyRange::From("k".into()).into_bounds(), ("k".into(), ZERO));
    }
}
