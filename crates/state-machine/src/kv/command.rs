//! Commands of the key-value machine, their responses and errors.
//!
//! A command is stored in the log as one byte of format version followed by its postcard encoding; in a session, its
//! place there and a byte that says so come before it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::session::facts::{SessionClient, SessionId};

/// A revision of the store: rises by one with every command that changes keys. A store that was never
/// written is at revision 1, as in etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub i64);

/// A lease's id; chosen by the proposer, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

/// A key with its value and history counters (etcd's `mvccpb.KeyValue`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision that created it, since it last did not exist.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// How many changes since creation; 1 after creation.
    pub version: i64,
    /// The lease it is attached to.
    pub lease: Option<LeaseId>,
}

/// Which keys: one, or a half-open interval (etcd's `key` and `range_end`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub key: Bytes,
    /// Empty: just `key`. One zero byte: everything from `key` on. Otherwise: all keys `>= key` and
    /// `< range_end`.
    pub range_end: Bytes,
}

/// What to read (etcd's `RangeRequest`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At which revision; `None` for the present.
    pub revision: Option<Revision>,
    /// How many keys at most; 0 for all.
    pub limit: i64,
    /// The order, if not by key ascending.
    pub sort: Option<(SortTarget, SortOrder)>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Only keys last changed at or after this.
    pub min_mod_revision: Revision,
    /// Only keys last changed at or before this; 0 for no bound.
    pub max_mod_revision: Revision,
    /// Only keys created at or after this.
    pub min_create_revision: Revision,
    /// Only keys created at or before this; 0 for no bound.
    pub max_create_revision: Revision,
}

impl RangeRequest {
    /// All that a range holds now, by key.
    #[must_use]
    pub fn of(range: KeyRange) -> Self {
        Self {
            range,
            revision: None,
            limit: 0,
            sort: None,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }
}

/// What to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    Key,
    /// The version.
    Version,
    /// The creation revision.
    Create,
    /// The modification revision.
    Mod,
    /// The value.
    Value,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// The keys.
    pub kvs: Vec<Arc<KeyValue>>,
    /// There are more than the limit let through.
    pub more: bool,
    /// How many keys are in the range, whatever the limit.
    pub count: i64,
}

/// Writes one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key.
    #[serde(deserialize_with = "super::decoding::shared")]
    pub key: Bytes,
    /// The value; ignored if `ignore_value`.
    #[serde(deserialize_with = "super::decoding::shared")]
    pub value: Bytes,
    /// Attach to this lease; `None` detaches.
    pub lease: Option<LeaseId>,
    /// Answer with what was there before.
    pub prev_kv: bool,
    /// Keep the present value; an error if the key does not exist.
    pub ignore_value: bool,
    /// Keep the present lease; an error if the key does not exist.
    pub ignore_lease: bool,
}

/// Deletes keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// Which.
    pub range: KeyRange,
    /// Answer with what was deleted.
    pub prev_kv: bool,
}

/// If all comparisons hold, `success`, else `failure`; all at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// The comparisons.
    pub compare: Vec<Compare>,
    /// Done if all hold.
    pub success: Vec<TxnOp>,
    /// Done otherwise.
    pub failure: Vec<TxnOp>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOp {
    /// Read.
    Range(RangeRequest),
    /// Write.
    Put(PutRequest),
    /// Delete.
    Delete(DeleteRequest),
    /// A transaction inside.
    #[serde(deserialize_with = "super::decoding::nested_txn")]
    Txn(TxnRequest),
}

/// One comparison; over a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// What of them, against what.
    pub target: CompareTarget,
    /// How.
    pub operator: CompareOperator,
}

/// What is compared with what. A key that does not exist compares as zeros, but never by value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The creation revision.
    Create(Revision),
    /// The modification revision.
    Mod(Revision),
    /// The value.
    Value(Bytes),
    /// The lease; 0 for none.
    Lease(i64),
    /// Something that this version does not know: as in etcd, it is found to be equal.
    Unknown,
}

/// How two things are compared: the key's is on the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareOperator {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Less.
    Less,
    /// Not equal.
    NotEqual,
    /// In a way that this version does not know: as in etcd, whatever is found will do.
    Unknown,
}

/// How much history is kept beside what is current. What of both is reached first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Changes are kept for so long, in milliseconds of cluster time; `None` for ever.
    pub age_ms: Option<u64>,
    /// About so many bytes of changes are kept, keys and values and [what a version takes](super::KvView::size_bytes); `None` for any
    /// number.
    pub bytes: Option<u64>,
}

/// A command of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Write one key.
    Put(PutRequest),
    /// Delete keys.
    Delete(DeleteRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// Forget history at and below a revision, except what is still current there.
    Compact {
        /// The revision.
        revision: Revision,
    },
    /// Make a lease.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// How long it lives without renewal, in seconds, at least 1.
        ttl_seconds: i64,
    },
    /// End a lease and delete its keys.
    LeaseRevoke {
        /// Its id.
        id: LeaseId,
    },
    /// Renew leases; one entry for all renewals that came together.
    LeaseRenew {
        /// Their ids.
        ids: Vec<LeaseId>,
    },
    /// Open a session.
    OpenSession {
        /// Whose it will be.
        client: SessionClient,
    },
    /// Keep so much history from now on.
    SetRetention(Retention),
}

/// What a command answers, with the store's revision after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The store's revision after the command (the header revision of etcd's responses).
    pub revision: Revision,
    /// The result.
    pub result: Result<Outcome, KvError>,
}

/// The results by command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    Delete(DeleteResponse),
    /// Of a transaction.
    Txn(TxnResponse),
    /// Of a compaction.
    Compact,
    /// Of a grant.
    LeaseGrant {
        /// The granted time to live, in seconds.
        ttl_seconds: i64,
    },
    /// Of a revocation.
    LeaseRevoke,
    /// Of renewals: the time to live in seconds of each asked id, `None` for those that don't exist.
    LeaseRenew(Vec<Option<i64>>),
    /// Of opening a session.
    SessionOpened(SessionId),
    /// Of setting how much history is kept.
    RetentionSet,
}

/// Of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResponse {
    /// What was there before, if asked for and there.
    pub prev_kv: Option<Arc<KeyValue>>,
}

/// Of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteResponse {
    /// How many keys were deleted.
    pub deleted: i64,
    /// The deleted, if asked for.
    pub prev_kvs: Vec<Arc<KeyValue>>,
}

/// Of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnResponse {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The results of the operations done, in order.
    pub responses: Vec<TxnOpResponse>,
}

/// Of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOpResponse {
    /// Of a read.
    Range(RangeResponse),
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    Delete(DeleteResponse),
    /// Of a transaction inside.
    #[serde(deserialize_with = "super::decoding::nested_txn")]
    Txn(TxnResponse),
}

/// Why a command or read was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum KvError {
    /// The revision asked for is compacted away.
    #[error("revision {requested} is compacted, the oldest left is {compacted}", requested = requested.0, compacted = compacted.0)]
    Compacted {
        /// Asked for.
        requested: Revision,
        /// Compacted up to here.
        compacted: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {requested} is in the future, the present one is {current}", requested = requested.0, current = current.0)]
    FutureRevision {
        /// Asked for.
        requested: Revision,
        /// The present one.
        current: Revision,
    },
    /// No such lease.
    #[error("lease {:x} not found", .0.0)]
    LeaseNotFound(LeaseId),
    /// There is such a lease already.
    #[error("lease {:x} already exists", .0.0)]
    LeaseExists(LeaseId),
    /// The time to live is out of bounds.
    #[error("time to live of {0} s is out of bounds")]
    LeaseTtlOutOfBounds(i64),
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// A transaction writes one key twice.
    #[error("a key is written twice in one transaction")]
    DuplicateKey,
    /// No such session, or it was not used for so long that it was ended for another. What became of commands that
    /// were sent in it before is unknown.
    #[error("session {} not found: it has ended or was never opened", .0.0)]
    SessionNotFound(SessionId),
    /// The number was said to be settled before.
    #[error("command {sequence} of session {} was settled before, and its answer is forgotten", session.0)]
    SessionCommandSettled {
        /// The session.
        session: SessionId,
        /// The number.
        sequence: u64,
    },
    /// More answers of the session are remembered than may be: its client does not settle them.
    #[error("session {} has too many answers that its client has not settled", .0.0)]
    SessionFull(SessionId),
    /// The command can't be decoded by this version.
    #[error("unknown command: {0}")]
    UnknownCommand(String),
    /// The client has as many sessions as one may have, and uses all of them.
    #[error("the client has {max} sessions already, as many as one may have, and all were used a moment ago")]
    TooManySessions {
        /// As many as one may have.
        max: u64,
    },
    /// The command was done, and its answer is gone: it was too large to be remembered.
    #[error("command {sequence} of session {} was done, and its answer was too large to be remembered", session.0)]
    SessionAnswerTooLarge {
        /// The session.
        session: SessionId,
        /// The number.
        sequence: u64,
    },
}
