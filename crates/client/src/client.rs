//! The client, and how a call moves from endpoint to endpoint.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::group::Channel;
use ruvector_api::ruvector::v1::NativeResponse;
use ruvector_api::ruvector::v1::native_request::Request;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use crate::connection::{Connection, addresses};
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::native::Native;
use crate::options::ClientOptions;
use crate::verdict::{Effect, judge, timeout_status};

/// A client of a cluster. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
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
            connections.push(Connection::new(endpoint.try_into()?, &options)?);
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

    /// The connections, in the order of the endpoints.
    pub(crate) fn connections(&self) -> &[Connection] {
        &self.shared.connections
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
                if begun.elapsed() + delay >= options.patience(&verdict.error) {
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
        ClientError::Unreachable { endpoints: addresses(&self.shared.connections), reason }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<&Endpoint> = self.endpoints().collect();
        formatter.debug_struct("Client").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}
