//! One node or three in this process, and clients of their ports.

#![allow(clippy::unwrap_used)]

mod admin;
mod calls;
mod cluster;
mod groups;
mod harness;
mod health;
mod kv;
mod large;
mod lease;
mod native;
mod port;
mod raw;
mod retention;
mod streams;
mod txn;
mod watch;
mod watch_backlog;
mod watch_limits;
mod watch_sharing;
