//! One node in this process, and clients of its port.

#![allow(clippy::unwrap_used)]

mod admin;
mod harness;
mod kv;
mod lease;
mod native;
mod port;
mod txn;
mod watch;
mod watch_limits;
mod watch_sharing;
