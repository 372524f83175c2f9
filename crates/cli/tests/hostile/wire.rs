//! Calls of gRPC by hand, so that they can be left unfinished and their answers untaken.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use prost::Message;
use ruvector_api::etcdserverpb as pb;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The largest window of HTTP/2.
const WINDOW_BYTES: u32 = (1 << 31) - 1;
/// What the status of a call is when its connection or stream broke.
pub(crate) const BROKEN: i32 = -1;
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
pub(crate) const OUT_OF_RANGE: i32 = 11;

/// A connection, which ends when this is dropped.
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

/// A call that is not finished.
pub(crate) struct Call {
    pub(crate) response: ResponseFuture,
    pub(crate) request: SendStream<Bytes>,
}

impl Client {
    /// Announces windows without end, and takes so many bytes of what is then sent.
    pub(crate) async fn connect(address: SocketAddr, hears_bytes: usize) -> io::Result<Self> {
        Self::with_windows(address, hears_bytes, WINDOW_BYTES).await
    }

    /// Announces small windows, so that what is not taken is not sent.
    pub(crate) async fn narrow(address: SocketAddr) -> io::Result<Self> {
        Self::with_windows(address, usize::MAX, (1 << 16) - 1).await
    }

    async fn with_windows(address: SocketAddr, hears_bytes: usize, window: u32) -> io::Result<Self> {
        let stream = Deaf { stream: TcpStream::connect(address).await?, hears_bytes };
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window);
        builder.initial_max_send_streams(16_384).max_concurrent_reset_streams(16_384);
        let (requests, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests, connection })
    }

    /// Begins a call.
    pub(crate) async fn begin(&mut self, path: &str) -> Result<Call, h2::Error> {
        let mut ready = self.requests.clone().ready().await?;
        let request = Request::post(format!("http://node{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, request) = ready.send_request(request, false)?;
        Ok(Call { response, request })
    }

    /// Asks something, and leaves the answer where it is.
    pub(crate) async fn ask(
        &mut self,
        path: &str,
        message: &impl Message,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut call = self.begin(path).await?;
        call.request.send_data(frame(message), true)?;
        Ok(call.response)
    }

    /// A whole call: its status, and how many bytes it was answered with.
    pub(crate) async fn call(&mut self, path: &str, message: &impl Message) -> (i32, usize) {
        match self.ask(path, message).await {
            Ok(response) => finish(response).await,
            Err(_) => (BROKEN, 0),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Takes an answer: its status, and how many bytes it had.
pub(crate) async fn finish(response: ResponseFuture) -> (i32, usize) {
    let Ok(response) = response.await else { return (BROKEN, 0) };
    if let Some(status) = response.headers().get("grpc-status") {
        return (status.to_str().unwrap().parse().unwrap(), 0);
    }
    read(response).await.unwrap_or((BROKEN, 0))
}

pub(crate) async fn read(response: Response<RecvStream>) -> Result<(i32, usize), h2::Error> {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let status = trailers.and_then(|trailers| trailers.get("grpc-status")?.to_str().ok()?.parse().ok());
    Ok((status.unwrap_or(BROKEN), bytes))
}

pub(crate) fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
pub(crate) const COMPACT: &str = "/etcdserverpb.KV/Compact";
pub(crate) const TXN: &str = "/etcdserverpb.KV/Txn";
pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";

pub(crate) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
pub(crate) const NATIVE: &str = "/ruvector.v1.Native/Exchange";

pub(crate) fn put_request(key: &str, value_bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: vec![7; value_bytes].into(), ..Default::default() }
}

pub(crate) fn range_request(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        ..Default::default()
    }
}

/// Puts a value of so many bytes; answers with the status.
pub(crate) async fn put(client: &mut Client, key: &str, value_bytes: usize) -> i32 {
    client.call(PUT, &put_request(key, value_bytes)).await.0
}

pub(crate) async fn get(client: &mut Client, key: &str) -> (i32, usize) {
    client.call(RANGE, &range_request(key, "")).await
}

/// Sends frames of a kind that there is not, for ever.
pub(crate) fn flood(address: SocketAddr) -> JoinHandle<()> {
    /// How a client begins, and its empty settings (RFC 9113, 3.4).
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// Without contents, on the connection itself.
    const NOTHING: [u8; 9] = [0, 0, 0, 0xbb, 0, 0, 0, 0, 0];
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let frames = NOTHING.repeat(1_000);
        while stream.write_all(&frames).await.is_ok() {}
    })
}

/// Asks for a page as simple programs do; answers with its status.
pub(crate) async fn http(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A connection that stops listening.
struct Deaf {
    stream: TcpStream,
    hears_bytes: usize,
}

impl AsyncRead for Deaf {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hears_bytes == 0 {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(task, buffer);
        this.hears_bytes = this.hears_bytes.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(task)
    }
}
