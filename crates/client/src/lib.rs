//! A client for a ruvector-consensus cluster; its key-value, watch and lease calls work against etcd v3 too.
//!
//! ```no_run
//! # async fn example() -> Result<(), ruvector_client::ClientError> {
//! use ruvector_client::{Client, GetOptions, PutOptions};
//!
//! let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"]).await?;
//! client.put("greeting", "hello", PutOptions::default()).await?;
//! let answer = client.get("greeting", GetOptions::default()).await?;
//! assert_eq!(answer.key_values[0].value, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] keeps one connection for each endpoint and moves to the next endpoint when one fails. Reads are
//! repeated until the time is up. A write is repeated only when it is certain that nothing was applied (the
//! connection was refused, there was no leader, the node was too busy); when the answer got lost the error is
//! [`ClientError::OutcomeUnknown`] and the decision is the caller's.
//!
//! Where to look: [`Client`] for keys, [`Pages`] for ranges that may be large, [`Transaction`] for compare-and-set, [`Watch`] for changes, [`LeaseId`] for
//! keys that end by themselves, [`NodeClient`] for what one node tells of itself.
//!
//! Modules by floors; each knows only those below it:
//!
//! - the calls: `kv`, `transaction`, `pages`, `watch`, `lease`, `members`, `admin`;
//! - `client`, which moves a call from endpoint to endpoint, and `native`, which has the stream to the leader;
//! - `connection` to one node, and `verdict` on what failed there;
//! - what callers give and get: `keys`, `admin::types`, `endpoint`, `options`, `group`, `error`.
//!
//! What this crate does not do: no TLS and no authentication yet, no balancing of load between endpoints, no cache.

mod admin;
mod client;
mod connection;
mod connector;
mod endpoint;
mod error;
mod group;
mod keys;
mod kv;
mod lease;
mod members;
mod native;
mod options;
mod pages;
mod transaction;
mod verdict;
mod watch;

pub use admin::{LogEntry, NodeClient, ReadAnswer, ReadLevel, Snapshot};
pub use client::Client;
pub use connector::{Gathering, gathering_connector};
pub use endpoint::Endpoint;
pub use error::ClientError;
pub use group::{GroupName, InvalidGroupName};
pub use keys::{
    DeleteAnswer, DeleteOptions, GetAnswer, GetOptions, KeyRange, KeyValue, LeaseId, PutAnswer, PutOptions,
    ReadFrom,
};
pub use lease::{Lease, LeaseTimeToLive};
pub use members::Member;
pub use options::{ClientOptions, Protocol};
pub use pages::Pages;
#[doc(inline)]
pub use ruvector_status::{
    ConnectionStatus, GroupStatus, Id, MemberStatus, Named, NodeStatus, PeerStatus, RetentionStatus, Role,
    StoreStatus,
};
pub use transaction::{
    Comparison, Operation, OperationAnswer, Relation, Target, Transaction, TransactionAnswer,
};
pub use watch::{Event, EventKind, Watch, WatchBatch, WatchOptions};
