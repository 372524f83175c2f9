//! The key-value machine from outside: by commands, responses and views only.
#![allow(clippy::unwrap_used)]

mod commands;
mod compaction;
mod events;
mod hashes;
mod leases;
mod model;
mod model_txn;
mod ranges;
mod retention;
mod revisions;
mod sessions;
mod snapshots;
mod strategies;
mod support;
mod transactions;
mod twin;
