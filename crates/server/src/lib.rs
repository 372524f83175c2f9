//! The daemon: a node and the protocols that clients speak to it.
//!
//! [`serve`] runs one node until a signal; [`Server`] does the same inside another program or a test. Both take
//! a [`ServerConfig`], which [`ServerOptions`] makes of a TOML file and of flags.
//!
//! One port carries everything: etcd's gRPC services, the service of the command line, and plain HTTP for
//! health and metrics. `frontend` brings a request to its protocol (`etcd`, `native`, `admin`), which makes a request
//! of the `service` of it. There it is handed to the node as a command, or evaluated on a published version of the
//! store. The protocol makes an answer of the outcome, on the same thread.
//!
//! What this crate does not do: it keeps no state that matters and decides nothing about consensus.

mod admin;
mod call;
mod chunks;
mod config;
mod connections;
mod deadline;
mod etcd;
mod etcd_version;
mod exposition;
mod frontend;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod groups;
mod health;
mod held;
mod http;
mod leader;
mod listener;
mod log_file;
mod metered;
mod metrics;
mod native;
mod retention;
mod sample;
mod serve_error;
mod server;
mod service;
mod wire;

pub use config::{
    ConfigError, Limits, RetentionOptions, ServerConfig, ServerOptions, parse_groups, parse_initial_nodes,
};
pub use ruvector_node::restore::{RestoredNode, restore_data_directory};
pub use serve_error::ServeError;
pub use server::{Server, serve};
