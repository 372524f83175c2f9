//! A node and the connection to it.

use std::fmt;
use std::time::Duration;

use tonic::transport::Endpoint as Transport;

use crate::connector::gathering_connector;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::group::Channel;
use crate::options::ClientOptions;

/// The largest message that is taken, in bytes: above what a server sends for its largest request.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A node and the connection to it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    pub(crate) channel: Channel,
}

impl Connection {
    /// A connection that is made on first use and made again by itself after it broke.
    pub(crate) fn new(endpoint: Endpoint, options: &ClientOptions) -> Result<Self, ClientError> {
        let transport = Transport::from_shared(format!("http://{endpoint}")).map_err(|error| {
            ClientError::InvalidEndpoint { endpoint: endpoint.to_string(), reason: error.to_string() }
        })?;
        let channel = transport
            .connect_timeout(options.connect_timeout)
            // A node that vanished without closing its connections is noticed within these two.
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(gathering_connector());
        Ok(Self { endpoint, channel: Channel::new(channel, &options.group) })
    }
}

/// All of their addresses, for what is said to people.
pub(crate) fn addresses(connections: &[Connection]) -> String {
    connections.iter().map(|connection| connection.endpoint.as_str()).collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Connection").field(&self.endpoint).finish()
    }
}

/// A generated service client with this crate's limits.
macro_rules! service {
    ($client:ty, $channel:expr) => {{
        type Service = $client;
        Service::new($channel)
            .max_decoding_message_size($crate::connection::MESSAGE_BYTES_MAX)
            .max_encoding_message_size($crate::connection::MESSAGE_BYTES_MAX)
    }};
}
pub(crate) use service;
