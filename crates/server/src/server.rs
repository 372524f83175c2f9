//! Starting, running and stopping the daemon.

use std::io;
use std::net::SocketAddr;

use ruvector_node::state_machine::kv::KvMachine;
use ruvector_node::{Handle, StorageError};

use crate::config::ServerConfig;

/// Why a server did not start or did not go on. Every text is one line.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is no address, or the system does not let the server listen there.
    #[error("can't listen for {whom} on {address}: {reason}")]
    Listen {
        /// `clients` or `peers`.
        whom: &'static str,
        /// The address.
        address: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The node can't start on its data directory.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// A setting of the log makes no sense.
    #[error("log level `{level}`: {reason}")]
    LogLevel {
        /// As given.
        level: String,
        /// What is wrong.
        reason: String,
    },
    /// A thread or the runtime could not be started.
    #[error("can't start the threads that serve clients: {0}")]
    Threads(io::Error),
    /// The node stopped by itself.
    #[error("the node has stopped: {0}")]
    NodeStopped(String),
}

/// Runs one node, in the foreground, until the process is told to stop (SIGINT or SIGTERM) or the node stops
/// by itself. Logs to standard error. Blocks; must not be called on a thread of an async runtime.
///
/// # Errors
/// If the server does not start, or the node stops by itself.
pub fn serve(config: ServerConfig) -> Result<(), ServeError> {
    let _ = config;
    todo!()
}

/// A running server; [`stop`](Self::stop) or dropping it ends it.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Starts a node and listens for its clients. Returns when both listeners are bound and the node is
    /// recovered; there may be no leader yet.
    ///
    /// # Errors
    /// Every [`ServeError`] but [`ServeError::NodeStopped`].
    pub fn start(config: ServerConfig) -> Result<Self, ServeError> {
        let _ = config;
        todo!()
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        todo!()
    }

    /// The node.
    #[must_use]
    pub fn handle(&self) -> Handle<KvMachine> {
        todo!()
    }

    /// Stops taking requests, then the node, and waits for both.
    pub fn stop(self) {}
}
