//! What a committed command does.
//!
//! [`machine`] holds the small [`StateMachine`] trait that a replica drives. [`kv`] is the machine that the
//! server runs: keys with etcd's revisions, transactions, leases and the history that watches read.
//!
//! What this crate does not do: no I/O, no clock, no threads, no randomness. Time and commands come in by
//! the log, so that every replica that applied the same entries is in the same state.

pub mod kv;
pub mod machine;

pub use machine::{Committed, RestoreError, StateMachine};
