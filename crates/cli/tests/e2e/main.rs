//! Whole clusters of real processes, driven through the command line, the Rust client and `etcdctl`.
//!
//! Tests here take turns (see [`support::Cluster`]): each has the machine to itself, since a cluster under load
//! is several processes. Every test ends with a look into all logs: nothing may ever panic.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod crashes;
mod damage;
mod disks;
mod etcdctl;
mod first_hour;
mod full_disk;
mod groups;
mod json;
#[path = "../ports/mod.rs"]
mod ports;
mod recovery;
mod support;
