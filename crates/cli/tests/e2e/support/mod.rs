//! What the end-to-end tests share.

mod cluster;
mod load;
mod process;
mod wait;

pub(crate) use cluster::{Cluster, Turn, flip_byte};
pub(crate) use load::{Ledger, Load};
pub(crate) use process::{Background, Lines, Ran, run, ruvector};
pub(crate) use wait::{PATIENCE, await_condition, await_some};
