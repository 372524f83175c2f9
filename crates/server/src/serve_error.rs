//! Why a server does not start or go on.

use std::io;

use ruvector_node::ReplicaError;

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
    Node(#[from] ReplicaError),
    /// What should be logged is not understood.
    #[error("log level `{level}`: {reason}")]
    LogLevel {
        /// As given.
        level: String,
        /// What is wrong.
        reason: String,
    },
    /// The log's file can't be written.
    #[error("can't log to {file}: {reason}")]
    LogFile {
        /// The file.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// A thread, the runtime or a signal handler could not be set up.
    #[error("can't start the threads that serve clients: {0}")]
    Threads(io::Error),
    /// The node stopped by itself.
    #[error("the node has stopped: {0}")]
    NodeStopped(String),
}
