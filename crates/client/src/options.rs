//! How long a client waits, and what it speaks.

use std::time::Duration;

use crate::error::ClientError;
use crate::group::GroupName;

/// How long a client waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a call may take in all, with every repetition.
    pub request_timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long to go on trying while no endpoint can be connected to at all.
    pub unreachable_timeout: Duration,
    /// What to speak for reading and writing keys.
    pub protocol: Protocol,
    /// The group that all calls are about.
    pub group: GroupName,
    /// How long to wait before an attempt that follows a failure; doubled with each, up to twenty times this.
    pub retry_delay: Duration,
}

/// What a client speaks for reading and writing keys. Leases, watches and the rest have calls of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The native protocol: all requests on one stream to the leader, and writes that are sent again after any failure,
    /// each applied once. etcd's API with servers that do not offer it.
    #[default]
    Native,
    /// etcd's API: one call for each request. A write whose answer gets lost is not sent again, and its outcome unknown.
    Etcd,
}

impl Default for ClientOptions {
    /// The native protocol, ten seconds for a call, two for a connection, 25 milliseconds before the first repetition.
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            unreachable_timeout: Duration::from_secs(10),
            protocol: Protocol::default(),
            group: GroupName::default(),
            retry_delay: Duration::from_millis(25),
        }
    }
}

impl ClientOptions {
    /// How long to go on trying when attempts fail like this.
    pub(crate) fn patience(&self, failure: &ClientError) -> Duration {
        let unreachable = matches!(failure, ClientError::Unreachable { .. });
        if unreachable { self.unreachable_timeout } else { self.request_timeout }
    }
}
