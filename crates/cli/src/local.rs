//! Clusters whose nodes run on this machine: remembered in files, started and stopped as processes.
//!
//! [`Home`] is the registry, one JSON file for each [`LocalCluster`]; `process` recognises a node's process and ends it,
//! `spawn` starts one; [`launch`] brings a whole cluster up or down; [`ports`] says who has a port.

pub(crate) mod launch;
pub(crate) mod ports;

mod cluster;
mod name;
mod process;
mod registry;
mod spawn;

pub(crate) use cluster::{LocalCluster, LocalNode};
pub(crate) use name::ClusterName;
pub(crate) use registry::Home;
