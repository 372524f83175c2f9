//! What a committed command does.
//!
//! [`machine`] holds the small [`StateMachine`] trait that a replica drives. [`kv`] is the machine that the
//! server runs: keys with etcd's revisions, transactions, leases and the history that watches read.
//!
//! Determinism is what replication rests on. The machine reads nothing but the entries: leases end by the
//! cluster time that entries carry, compacted history is taken out by the number of entries that followed,
//! maps are ordered. `clippy.toml` disallows hash maps, clocks and threads in this crate. A hash over the whole
//! state, kept up to date with every change, shows whether replicas agree.
//!
//! What this crate does not do: no I/O, no clock, no threads, no randomness. Time and commands come in by
//! the log, so that every replica that applied the same entries is in the same state.

#![warn(clippy::iter_over_hash_type)]

pub mod kv;
pub mod machine;

pub use machine::{Committed, RestoreError, StateMachine};
