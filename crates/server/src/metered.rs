//! A connection whose bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Task, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::context::Context;

/// A connection whose bytes are counted, for itself and for all together.
pub(crate) struct Metered {
    stream: TcpStream,
    context: Arc<Context>,
    received: Received,
}

/// How many bytes came on one connection.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<AtomicU64>);

impl Received {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metered {
    pub(crate) fn new(stream: TcpStream, context: Arc<Context>) -> (Self, Received) {
        let received = Received::default();
        (Self { stream, context, received: received.clone() }, received)
    }

    fn count_sent(&self, sent: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes) = sent {
            self.context.metrics.sent_bytes.inc_by(bytes as u64);
        }
        Poll::Ready(sent)
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        let bytes = (buffer.filled().len() - before) as u64;
        self.received.0.fetch_add(bytes, Ordering::Relaxed);
        self.context.metrics.received_bytes.inc_by(bytes);
        Poll::Ready(Ok(()))
    }
}

/// Not able to write from several places at once, on purpose: to such connections the HTTP/2 library gives every message of
/// 256 bytes and more on its own, each a system call. To others it gives messages of up to a kilobyte together.
impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(task, bytes));
        self.count_sent(sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
