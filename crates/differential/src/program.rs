//! What is played: steps that mean the same to both systems, whatever their revisions and lease ids are.

use bytes::Bytes;
use prost::Message;
use ruvector_api::etcdserverpb as pb;

/// Requests, one after the other.
#[derive(Clone, PartialEq, Message)]
pub struct Program {
    /// In the order in which they are made.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<Step>,
}

/// One request.
#[derive(Clone, PartialEq, Message)]
pub struct Step {
    /// Which of a system's nodes is asked, modulo their number.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// What it is asked.
    #[prost(oneof = "Action", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub action: Option<Action>,
}

/// What is asked: etcd's own requests, with [`symbols`](crate::symbols) in the place of revisions and of lease ids
/// that a system chose.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Action {
    /// Reads keys.
    #[prost(message, tag = "2")]
    Range(pb::RangeRequest),
    /// Writes a key.
    #[prost(message, tag = "3")]
    Put(pb::PutRequest),
    /// Deletes keys.
    #[prost(message, tag = "4")]
    Delete(pb::DeleteRangeRequest),
    /// A transaction.
    #[prost(message, tag = "5")]
    Txn(pb::TxnRequest),
    /// Forgets history.
    #[prost(message, tag = "6")]
    Compact(pb::CompactionRequest),
    /// Makes a lease. Its time to live must be longer than a program takes.
    #[prost(message, tag = "7")]
    Grant(pb::LeaseGrantRequest),
    /// Ends a lease.
    #[prost(message, tag = "8")]
    Revoke(pb::LeaseRevokeRequest),
    /// Renews leases, all on one stream.
    #[prost(message, tag = "9")]
    KeepAlive(Renewals),
    /// Asks how long a lease has.
    #[prost(message, tag = "10")]
    TimeToLive(pb::LeaseTimeToLiveRequest),
    /// Asks for all leases.
    #[prost(message, tag = "11")]
    Leases(pb::LeaseLeasesRequest),
    /// Makes a lease, attaches keys to it and waits until it has ended by itself.
    #[prost(message, tag = "12")]
    Expire(Expiry),
    /// Makes a lease and ends it at once, for times to live that are shorter than a program.
    #[prost(message, tag = "13")]
    Fleeting(pb::LeaseGrantRequest),
    /// Says something on a watch stream.
    #[prost(message, tag = "14")]
    Watch(Saying),
}

/// Leases to renew.
#[derive(Clone, PartialEq, Message)]
pub struct Renewals {
    /// In this order.
    #[prost(int64, repeated, tag = "1")]
    pub ids: Vec<i64>,
}

/// A lease that ends by itself.
#[derive(Clone, PartialEq, Message)]
pub struct Expiry {
    /// Its id, not 0.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// The keys that end with it.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub keys: Vec<Bytes>,
}

/// Something that is said on a watch stream, which is opened by the first saying.
#[derive(Clone, PartialEq, Message)]
pub struct Saying {
    /// The number of the stream. Number 0 is there from the beginning and watches everything.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// The request; none closes the sending side.
    #[prost(message, optional, tag = "2")]
    pub request: Option<pb::WatchRequest>,
}

impl Program {
    /// The form that the command line takes.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`to_hex`](Self::to_hex) made. `None` if it is no program.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return None;
        }
        let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        Self::decode(bytes.collect::<Result<Vec<u8>, _>>().ok()?.as_slice()).ok()
    }
}

impl Action {
    /// One word for its kind.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Range(_) => "range",
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Txn(_) => "txn",
            Self::Compact(_) => "compact",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::KeepAlive(_) => "keep-alive",
            Self::TimeToLive(_) => "time-to-live",
            Self::Leases(_) => "leases",
            Self::Expire(_) => "expire",
            Self::Fleeting(_) => "fleeting",
            Self::Watch(_) => "watch",
        }
    }

    /// Whether it may change what keys hold. A read certainly doesn't.
    #[must_use]
    pub fn may_write(&self) -> bool {
        match self {
            Self::Range(_) | Self::TimeToLive(_) | Self::Leases(_) => false,
            Self::Put(_)
            | Self::Delete(_)
            | Self::Txn(_)
            | Self::Compact(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::KeepAlive(_)
            | Self::Expire(_)
            | Self::Fleeting(_)
            | Self::Watch(_) => true,
        }
    }

    /// Whether it may be answered from what a node happens to know.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        match self {
            Self::Range(request) => request.serializable,
            Self::Txn(request) => !writes(request),
            Self::Watch(_) | Self::Leases(_) => true,
            Self::Put(_)
            | Self::Delete(_)
            | Self::Compact(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::KeepAlive(_)
            | Self::TimeToLive(_)
            | Self::Expire(_)
            | Self::Fleeting(_) => false,
        }
    }
}

fn writes(request: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    request.success.iter().chain(&request.failure).any(|operation| match &operation.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(inner)) => writes(inner),
        Some(Request::RequestRange(_)) | None => false,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn a_program_comes_back_from_its_text() {
        for seed in 0..50 {
            let program = generate(seed);
            assert_eq!(Program::from_hex(&program.to_hex()).unwrap(), program);
        }
        assert_eq!(Program::from_hex("0"), None);
        assert_eq!(Program::from_hex("zz"), None);
    }
}
