//! HTTP/2 connections for the generated gRPC clients, without what a general client has around them.
//!
//! The generator shares the machine with what it measures: what it costs flattens every figure. tonic's own channel brings a
//! request to its connection through a queue and three tasks, of which one is the request's own, so that it can reconnect,
//! limit and balance. Here a request goes from the task that makes it straight to the HTTP/2 library. A connection that broke
//! stays broken: its loads are told.

use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, poll_fn};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http_body::{Body as _, Frame};
use ruvector_client::Gathering;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::uri::{Authority, Scheme};
use tonic::codegen::http::{Request, Response};

/// A connection that takes longer to make has failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection to a server. Clones share it; it ends when all of them and their streams are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    requests: SendRequest<Bytes>,
    authority: Authority,
}

impl Wire {
    /// Connects. The server may send `window_bytes` before somebody reads them.
    ///
    /// # Errors
    /// If nobody listens there or the other side does not speak HTTP/2.
    pub(crate) async fn connect(address: &str, window_bytes: u32) -> Result<Self> {
        let authority = address.parse().with_context(|| format!("{address} is no address"))?;
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(window_bytes)
            .initial_connection_window_size(window_bytes)
            .handshake(Gathering(stream))
            .await?;
        // Whoever uses it is told how it ended.
        tokio::spawn(connection.map(drop));
        Ok(Self { requests, authority })
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Answer>;
    type Error = anyhow::Error;
    type Future = BoxFuture<'static, Result<Response<Answer>>>;

    /// Whether the server takes another stream.
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        self.requests.poll_ready(task).map_err(anyhow::Error::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { requests, authority } = self.clone();
        Box::pin(exchange(requests, authority, request))
    }
}

/// Sends a request, and returns when the head of its answer is there.
async fn exchange(
    mut requests: SendRequest<Bytes>,
    authority: Authority,
    request: Request<Body>,
) -> Result<Response<Answer>> {
    let (mut head, body) = request.into_parts();
    let mut target = head.uri.into_parts();
    target.scheme = Some(Scheme::HTTP);
    target.authority = Some(authority);
    head.uri = target.try_into()?;
    let (response, stream) = requests.send_request(Request::from_parts(head, ()), false)?;
    let mut outgoing = Outgoing { body, stream, held: None };
    // A single message is there at once, and costs no task.
    let sent = poll_fn(|task| Poll::Ready(outgoing.poll_send(task))).await;
    match sent {
        Poll::Ready(sent) => sent?,
        Poll::Pending => drop(tokio::spawn(poll_fn(move |task| outgoing.poll_send(task)))),
    }
    Ok(response.await?.map(Answer))
}

/// What a request says, on its way.
struct Outgoing {
    body: Body,
    stream: SendStream<Bytes>,
    /// Waits for what comes behind it, so that the last message ends the stream and no frame is needed for that.
    held: Option<Bytes>,
}

impl Outgoing {
    /// Sends all there is, to the end. The library keeps what the server does not take yet: no more than a request for each
    /// client.
    fn poll_send(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        loop {
            let held = match Pin::new(&mut self.body).poll_frame(task) {
                Poll::Ready(Some(frame)) => match frame?.into_data() {
                    Ok(data) => self.held.replace(data),
                    Err(_) => continue,
                },
                Poll::Ready(None) => {
                    let last = self.held.take().unwrap_or_default();
                    return Poll::Ready(Ok(self.stream.send_data(last, true)?));
                }
                Poll::Pending => self.held.take(),
            };
            let is_waiting = self.held.is_none();
            if let Some(data) = held {
                self.stream.send_data(data, false)?;
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub(crate) struct Answer(RecvStream);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.0.poll_data(task)) {
            let data = data?;
            self.0.flow_control().release_capacity(data.len())?;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(self.0.poll_trailers(task))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
