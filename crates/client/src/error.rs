//! Why a call failed.

/// Why a call failed; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// What was given as an endpoint is none.
    #[error("`{endpoint}` is not an endpoint: {reason}; write HOST:PORT")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A client needs at least one endpoint.
    #[error("no endpoint was given; write HOST:PORT")]
    NoEndpoints,
    /// No connection could be made; nothing was done.
    #[error(
        "no node answers at {endpoints} ({reason}); check that the nodes run and that the addresses are right"
    )]
    Unreachable {
        /// All that were tried.
        endpoints: String,
        /// Why the last of them failed.
        reason: String,
    },
    /// The nodes answer but have no leader; nothing was done.
    #[error("the cluster has no leader ({reason}); a majority of its nodes must run and reach each other")]
    NoLeader {
        /// The node's words.
        reason: String,
    },
    /// The nodes have too much to do; nothing was done.
    #[error("the node is too busy ({reason}); try again later")]
    Busy {
        /// The node's words.
        reason: String,
    },
    /// A write was sent and its answer got lost.
    #[error(
        "the answer got lost ({reason}): whether the write was applied is unknown; read before writing again"
    )]
    OutcomeUnknown {
        /// How it got lost.
        reason: String,
    },
    /// A read was not answered in time.
    #[error("no answer in time ({reason}); try again, or ask another node")]
    TimedOut {
        /// What was waited for.
        reason: String,
    },
    /// The revision asked for is no longer kept.
    #[error("the revision asked for is no longer kept ({reason}); ask for a newer one")]
    Compacted {
        /// The oldest revision that can be had, if the node told.
        oldest: Option<i64>,
        /// The node's words.
        reason: String,
    },
    /// An answer, or a request, is larger than fits one message. To ask again would bring it again.
    #[error("this is too large for one message ({reason}); ask for less at a time, as with a limit")]
    TooLarge {
        /// What is too large.
        reason: String,
    },
    /// The node understood and refuses; nothing was done.
    #[error("{reason}")]
    Refused {
        /// The node's words.
        reason: String,
    },
    /// The server speaks gRPC but does not know the call.
    #[error(
        "the server at {endpoint} does not offer this call ({reason}); is it a ruvector node of this version?"
    )]
    Unsupported {
        /// The server.
        endpoint: String,
        /// Its words.
        reason: String,
    },
    /// The server's answer makes no sense.
    #[error("the server's answer makes no sense ({reason}); is it a ruvector node of this version?")]
    Malformed {
        /// What is missing or wrong.
        reason: String,
    },
}

impl From<std::convert::Infallible> for ClientError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
