//! The client, its connections, and how a call moves from endpoint to endpoint.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ruvector_api::ruvector::v1::NativeResponse;
use ruvector_api::ruvector::v1::native_request::Request;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::admin::NodeClient;
use crate::endpoint::Endpoint;
use crate::error::{ClientError, Effect, judge};
use crate::native::Native;

/// The largest message that is taken, in bytes: above what a server sends for its largest request.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A client of a cluster. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

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
            retry_delay: Duration::from_millis(25),
        }
    }
}

/// A node and the connection to it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    pub(crate) channel: Channel,
}

struct Shared {
    connections: Vec<Connection>,
    /// The connection that worked last; the next call begins there.
    preferred: AtomicUsize,
    options: ClientOptions,
    native: Native,
}

impl Client {
    /// Makes a client and the first connection. One endpoint that answers is enough.
    ///
    /// # Errors
    /// [`ClientError::InvalidEndpoint`], [`ClientError::NoEndpoints`], or [`ClientError::Unreachable`] if none
    /// of them answers within the request timeout.
    pub async fn connect<I>(endpoints: I) -> Result<Self, ClientError>
    where
        I: IntoIterator,
        I::Item: TryInto<Endpoint>,
        ClientError: From<<I::Item as TryInto<Endpoint>>::Error>,
    {
        let client = Self::new(endpoints, ClientOptions::default())?;
        client.members().await?;
        Ok(client)
    }

    /// Makes a client whose connections are made when they are first used.
    ///
    /// # Errors
    /// [`ClientError::InvalidEndpoint`] or [`ClientError::NoEndpoints`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new<I>(endpoints: I, options: ClientOptions) -> Result<Self, ClientError>
    where
        I: IntoIterator,
        I::Item: TryInto<Endpoint>,
        ClientError: From<<I::Item as TryInto<Endpoint>>::Error>,
    {
        let mut connections = Vec::new();
        for endpoint in endpoints {
            let endpoint: Endpoint = endpoint.try_into()?;
            let channel = endpoint.channel(&options)?;
            connections.push(Connection { endpoint, channel });
        }
        if connections.is_empty() {
            return Err(ClientError::NoEndpoints);
        }
        let native = Native::new(options.protocol);
        Ok(Self { shared: Arc::new(Shared { connections, preferred: AtomicUsize::new(0), options, native }) })
    }

    /// The endpoints, in the order given.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.shared.connections.iter().map(|connection| &connection.endpoint)
    }

    /// One node at a time: what is asked there is answered by that node about itself, and not repeated elsewhere.
    pub fn nodes(&self) -> impl Iterator<Item = NodeClient> + '_ {
        let timeout = self.shared.options.request_timeout;
        self.shared.connections.iter().map(move |connection| NodeClient::new(connection.clone(), timeout))
    }

    /// Has a request done by the native protocol. `None` if the servers do not offer that.
    pub(crate) async fn native(
        &self,
        effect: Effect,
        request: Request,
    ) -> Result<Option<NativeResponse>, ClientError> {
        self.shared.native.request(&self.shared.connections, &self.shared.options, effect, request).await
    }

    /// Makes a call at the preferred endpoint and, as far as `effect` allows, at the others until the time is up.
    ///
    /// It is boxed for those who rarely come to it: a caller's future has room for all that it may wait for, and this takes
    /// kilobytes, which a request by the native protocol would carry along.
    pub(crate) fn call<T, F, A>(
        &self,
        effect: Effect,
        attempt: A,
    ) -> Pin<Box<impl Future<Output = Result<T, ClientError>>>>
    where
        A: Fn(Channel) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        Box::pin(self.try_endpoints(effect, attempt))
    }

    async fn try_endpoints<T, F, A>(&self, effect: Effect, attempt: A) -> Result<T, ClientError>
    where
        A: Fn(Channel) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let options = &self.shared.options;
        let begun = Instant::now();
        let deadline = begun + options.request_timeout;
        let mut delay = options.retry_delay;
        let mut failures = 0;
        loop {
            let (position, connection) = self.preferred();
            let limit = self.attempt_deadline(effect, deadline);
            let verdict = match timeout_at(limit, attempt(connection.channel.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => judge(&status, &connection.endpoint, effect),
                Err(_) => judge(&timeout_status(&connection.endpoint), &connection.endpoint, effect),
            };
            if !verdict.may_retry || Instant::now() >= deadline {
                return Err(self.name_all_endpoints(verdict.error));
            }
            self.prefer_another_than(position);
            failures += 1;
            // Every endpoint gets its chance at once; only then there is reason to wait.
            if failures % self.shared.connections.len() == 0 {
                let unreachable = matches!(verdict.error, ClientError::Unreachable { .. });
                let patience =
                    if unreachable { options.unreachable_timeout } else { options.request_timeout };
                if begun.elapsed() + delay >= patience {
                    return Err(self.name_all_endpoints(verdict.error));
                }
                sleep(delay).await;
                delay = (delay * 2).min(options.retry_delay * 20);
            }
        }
    }

    /// The connection to begin with, and its position.
    pub(crate) fn preferred(&self) -> (usize, &Connection) {
        let position = self.shared.preferred.load(Ordering::Relaxed) % self.shared.connections.len();
        (position, &self.shared.connections[position])
    }

    /// Moves on from a connection that failed, unless another call has done so already.
    pub(crate) fn prefer_another_than(&self, position: usize) {
        let next = (position + 1) % self.shared.connections.len();
        let _ = self.shared.preferred.compare_exchange(position, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// A read leaves time to ask others if a node hangs. A write does not: giving up early would only make its
    /// outcome unknown.
    fn attempt_deadline(&self, effect: Effect, deadline: Instant) -> Instant {
        const ATTEMPTS_MAX: usize = 3;
        let attempts = u32::try_from(self.shared.connections.len().min(ATTEMPTS_MAX)).unwrap_or(1);
        match effect {
            Effect::Read => deadline.min(Instant::now() + self.shared.options.request_timeout / attempts),
            Effect::Write => deadline,
        }
    }

    fn name_all_endpoints(&self, error: ClientError) -> ClientError {
        let ClientError::Unreachable { reason, .. } = error else { return error };
        let endpoints: Vec<&str> = self.endpoints().map(Endpoint::as_str).collect();
        ClientError::Unreachable { endpoints: endpoints.join(", "), reason }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<&Endpoint> = self.endpoints().collect();
        formatter.debug_struct("Client").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Connection").field(&self.endpoint).finish()
    }
}

/// What a time limit of this client looks like, in the terms that [`judge`] judges.
pub(crate) fn timeout_status(endpoint: &Endpoint) -> Status {
    Status::deadline_exceeded(format!("{endpoint} is silent"))
}

/// A generated service client with this crate's limits.
macro_rules! service {
    ($client:ty, $channel:expr) => {{
        type Service = $client;
        Service::new($channel)
            .max_decoding_message_size($crate::client::message_bytes_max())
            .max_encoding_message_size($crate::client::message_bytes_max())
    }};
}
pub(crate) use service;

pub(crate) const fn message_bytes_max() -> usize {
    MESSAGE_BYTES_MAX
}
