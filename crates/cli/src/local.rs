//! Clusters whose nodes run on this machine: remembered in files, started and stopped as processes.
//!
//! [`Home`] is the registry, one JSON file for each [`LocalCluster`]; `process` recognises a node's process and ends it,
//! `spawn` starts one; [`launch`] brings all nodes up or down, and [`lifecycle`] remembers that; [`ports`] says who
//! has a port, and [`directories`] what lies beside the nodes' data.

pub(crate) mod directories;
pub(crate) mod launch;
pub(crate) mod lifecycle;
pub(crate) mod ports;

mod cluster;
mod name;
mod process;
mod registry;
mod spawn;

pub(crate) use cluster::{LocalCluster, LocalNode};
pub(crate) use name::ClusterName;
pub(crate) use registry::Home;
