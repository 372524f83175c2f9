//! A connection whose bytes are counted, and leave together.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, ready};

use bytes::{Buf, BytesMut};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::metrics::Metrics;

/// What waits to be sent is sent at once when it would be more than this, in bytes.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// So much is read of a connection before others get their turn, in bytes. What comes may be many thousand frames of which each
/// costs something.
const TURN_BYTES_MAX: usize = 64 << 10;
/// An idle connection keeps room for no more than this, in bytes.
const IDLE_BYTES_MAX: usize = 16 << 10;

/// A connection whose bytes are counted, for itself and for all together, and leave together: what is
/// written waits until its [`Outlet`] sends it. The HTTP/2 library flushes after every message of a kilobyte or more, and
/// each flush would be a system call, or two; so flushing does nothing here.
pub(crate) struct Metered(Arc<Mutex<Wire>>);

/// Sends what was written to a connection. Its owner drives the connection through it.
pub(crate) struct Outlet(Arc<Mutex<Wire>>);

struct Wire<S = TcpStream> {
    stream: S,
    /// How many bytes came on this connection.
    received: u64,
    /// How many more may be read in this turn.
    turn_bytes: usize,
    received_by_all: Counter,
    sent_by_all: Counter,
    /// Written, and not yet sent.
    waiting: BytesMut,
}

impl Metered {
    pub(crate) fn new(stream: TcpStream, metrics: &Metrics) -> (Self, Outlet) {
        let wire = Wire::new(stream, metrics.received_bytes.clone(), metrics.sent_bytes.clone());
        let wire = Arc::new(Mutex::new(wire));
        (Self(Arc::clone(&wire)), Outlet(wire))
    }
}

impl Outlet {
    /// How many bytes came on the connection.
    pub(crate) fn received(&self) -> u64 {
        lock(&self.0).received
    }

    /// Has the connection do what it can at present, then sends all that it wrote. It is woken too when more
    /// of that can be sent.
    pub(crate) fn drive<E: From<io::Error>>(
        &self,
        connection: Pin<&mut impl Future<Output = Result<(), E>>>,
        task: &mut Task<'_>,
    ) -> Poll<Result<(), E>> {
        lock(&self.0).turn_bytes = TURN_BYTES_MAX;
        if let Poll::Ready(ended) = connection.poll(task) {
            return Poll::Ready(ended);
        }
        match lock(&self.0).poll_send(task) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    // A panic while it was locked ends the connection.
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    fn new(stream: S, received_by_all: Counter, sent_by_all: Counter) -> Self {
        Self {
            stream,
            received: 0,
            turn_bytes: TURN_BYTES_MAX,
            received_by_all,
            sent_by_all,
            waiting: BytesMut::new(),
        }
    }

    fn poll_read(&mut self, task: &mut Task<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn_bytes == 0 {
            // Its turn comes again, behind all that are ready.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        let bytes = buffer.filled().len() - before;
        self.turn_bytes = self.turn_bytes.saturating_sub(bytes);
        let bytes = bytes as u64;
        self.received += bytes;
        self.received_by_all.inc_by(bytes);
        Poll::Ready(Ok(()))
    }

    /// Lets the bytes wait. Those that find no room take none of it before the others are sent.
    fn poll_write(&mut self, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > WAITING_BYTES_MAX {
            ready!(self.poll_send(task))?;
        }
        let bytes = &bytes[..bytes.len().min(WAITING_BYTES_MAX)];
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sends all that waits.
    fn poll_send(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(task, &self.waiting))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_by_all.inc_by(sent as u64);
            self.waiting.advance(sent);
        }
        if self.waiting.capacity() > IDLE_BYTES_MAX {
            self.waiting = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(task))?;
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(task, buffer)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(task)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    /// A connection whose system takes only so many bytes before the other end reads.
    fn wire(system_bytes: usize) -> (Wire<DuplexStream>, DuplexStream) {
        let (stream, other) = tokio::io::duplex(system_bytes);
        (Wire::new(stream, Counter::default(), Counter::default()), other)
    }

    #[tokio::test]
    async fn what_is_written_waits_until_it_is_sent() {
        let (mut wire, mut other) = wire(1 << 20);
        for part in ["to", "ge", "ther"] {
            assert_eq!(poll_fn(|task| wire.poll_write(task, part.as_bytes())).await.unwrap(), part.len());
        }
        let mut received = [0; 8];
        assert!(other.read_exact(&mut received).now_or_never().is_none());
        poll_fn(|task| wire.poll_send(task)).await.unwrap();
        other.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"together");
    }

    #[tokio::test]
    async fn all_arrives_in_order_whatever_its_size_and_nothing_is_kept() {
        let (mut wire, mut other) = wire(1_000);
        let sizes = [1, WAITING_BYTES_MAX - 1, 1, 1, 5 * WAITING_BYTES_MAX, 0, 70, WAITING_BYTES_MAX];
        let parts: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(part, size)| vec![part as u8; *size]).collect();
        let writing = async {
            for part in &parts {
                let mut rest = part.as_slice();
                while !rest.is_empty() {
                    let taken = poll_fn(|task| wire.poll_write(task, rest)).await.unwrap();
                    rest = &rest[taken..];
                    assert!(wire.waiting.len() <= WAITING_BYTES_MAX);
                }
            }
            poll_fn(|task| wire.poll_shutdown(task)).await.unwrap();
            assert!(wire.waiting.is_empty() && wire.waiting.capacity() <= IDLE_BYTES_MAX);
            drop(wire);
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(writing, other.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, parts.concat());
    }

    #[tokio::test]
    async fn who_can_not_send_waits_for_the_other_end() {
        let (mut wire, mut other) = wire(10);
        poll_fn(|task| wire.poll_write(task, &[1; 25])).await.unwrap();
        assert!(poll_fn(|task| wire.poll_send(task)).now_or_never().is_none());
        let mut received = [0; 25];
        let (sent, read) =
            tokio::join!(poll_fn(|task| wire.poll_send(task)), other.read_exact(&mut received));
        sent.unwrap();
        read.unwrap();
        assert_eq!(received, [1; 25]);
    }

    /// Notes that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Not on a runtime, whose own turns end after a number of reads.
    #[test]
    fn who_sends_without_end_is_read_turn_by_turn() {
        let (mut wire, mut other) = wire(1 << 20);
        let sent = vec![1; 3 * TURN_BYTES_MAX];
        tokio::io::AsyncWriteExt::write_all(&mut other, &sent).now_or_never().unwrap().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut task = Task::from_waker(&waker);
        for _ in 0..2 {
            woken.0.store(false, Ordering::Relaxed);
            let (mut read, mut bytes) = (0, [0; 1_000]);
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                let Poll::Ready(done) = wire.poll_read(&mut task, &mut buffer) else { break };
                done.unwrap();
                read += buffer.filled().len();
            }
            assert!((TURN_BYTES_MAX..TURN_BYTES_MAX + 1_000).contains(&read), "{read}");
            assert!(woken.0.load(Ordering::Relaxed), "nobody comes back for the rest");
            wire.turn_bytes = TURN_BYTES_MAX;
        }
    }
}
