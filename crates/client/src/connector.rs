//! How connections to nodes write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

/// Makes TCP connections for [`tonic::transport::Endpoint::connect_with_connector_lazy`] on which the small messages of
/// concurrent requests leave together, without delay.
///
/// The HTTP/2 library hands every message of 256 bytes and more to the system on its own, if a connection says that it
/// can write from several places at once. These say that they can't: then messages of up to a kilobyte are gathered
/// until nobody has anything more to send.
#[must_use]
pub fn gathering_connector()
-> impl Service<Uri, Response = TokioIo<Gathering>, Error: std::error::Error + Send + Sync + 'static, Future: Send>
+ Send
+ 'static {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.map_response(|stream: TokioIo<TcpStream>| TokioIo::new(Gathering(stream.into_inner())))
}

/// A connection of [`gathering_connector`], or of whoever uses the HTTP/2 library without one.
#[derive(Debug)]
pub struct Gathering(pub TcpStream);

impl AsyncRead for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

/// Without vectored writes, which is the point of it.
impl AsyncWrite for Gathering {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}
