//! What waits to be sent to one peer, and how it gets onto the connection.
//!
//! The thread that calls [`Peer::flush`] writes to the socket itself, without a hop to another thread. Only
//! when the socket takes no more is the rest left to the peer's dialler (see [`crate::dialer`]), which then
//! waits for the socket to become writable.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ruvector_protocol::NodeId;

use crate::frame::FrameError;
use crate::message::PeerMessage;
use crate::notice::Notices;
use crate::wake::Waker;
use crate::writer::FrameWriter;

/// How much the dialler writes before it lets others at the queue.
const BACKLOG_WRITE_BYTES: usize = 256 << 10;
/// An empty queue that grew beyond this gives its memory back.
const IDLE_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Counters, all since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Messages dropped because the queue was full or the peer not connected.
    pub dropped_messages: u64,
    /// Whether the connection to it stands.
    pub connected: bool,
}

/// One peer as its senders, its dialler and its receiver share it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Where it listens, `host:port`.
    pub(crate) address: String,
    /// Wakes the dialler.
    pub(crate) waker: Waker,
    pub(crate) notices: Notices,
    pub(crate) received_bytes: AtomicU64,
    queue_bytes_max: usize,
    outbox: Mutex<Outbox>,
    /// The connection whose handshake is under way, so that stopping can end it.
    dialling: Mutex<Option<Arc<TcpStream>>>,
    loss_reported: AtomicBool,
    sent_bytes: AtomicU64,
    dropped_messages: AtomicU64,
}

/// Invariants: `written` is at most what the frames have, and within or at the end of a sealed one; without a connection
/// there are no frames. What is written to the socket is sealed first, so a frame is open from a message to the next
/// flush, or to the next room in the socket.
#[derive(Debug, Default)]
struct Outbox {
    connection: Option<Arc<TcpStream>>,
    frames: FrameWriter,
    /// How many of the frames' bytes the socket has taken.
    written: usize,
    /// The socket took no more; the dialler waits until it does and then writes.
    blocked: bool,
    /// Whether anything was written since the last [`Peer::keep_alive`].
    active: bool,
}

/// How far a write to the socket came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Everything,
    LimitReached,
    SocketFull,
    Broken,
}

impl Peer {
    pub(crate) fn new(id: NodeId, address: String, queue_bytes_max: usize) -> io::Result<Self> {
        Ok(Self {
            id,
            address,
            waker: Waker::new()?,
            notices: Notices::default(),
            received_bytes: AtomicU64::new(0),
            queue_bytes_max,
            outbox: Mutex::default(),
            dialling: Mutex::default(),
            // Nothing was ever connected, so there is nothing to lose yet.
            loss_reported: AtomicBool::new(true),
            sent_bytes: AtomicU64::new(0),
            dropped_messages: AtomicU64::new(0),
        })
    }

    /// Queues a message, or drops and counts it: when there is no connection, when the queue is full, or when
    /// it is larger than a frame may be. A message is taken whenever the queue is empty, whatever its size.
    pub(crate) fn send(&self, message: &PeerMessage) {
        let mut outbox = self.outbox();
        let queued = outbox.queued();
        if outbox.connection.is_none() || queued >= self.queue_bytes_max {
            self.dropped_messages.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match outbox.frames.push(message) {
            Ok(before) => {
                let over = outbox.queued() > self.queue_bytes_max;
                if over && queued > 0 {
                    outbox.frames.take_back(before);
                    self.dropped_messages.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(
                error @ (FrameError::TooLarge { .. }
                | FrameError::Checksum { .. }
                | FrameError::Encoding(_)
                | FrameError::Crowded { .. }),
            ) => {
                drop(outbox);
                self.dropped_messages.fetch_add(1, Ordering::Relaxed);
                self.notices.warn(
                    "unsendable",
                    format_args!("a message to node {:x} was dropped: {error}", self.id.0),
                );
            }
        }
    }

    /// Writes everything queued, as far as the socket takes it now.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox();
        if outbox.blocked || outbox.queued() == 0 {
            return;
        }
        match self.write(&mut outbox, usize::MAX) {
            Progress::Everything => {}
            Progress::SocketFull | Progress::LimitReached => {
                outbox.blocked = true;
                self.waker.wake();
            }
            Progress::Broken => outbox.close(),
        }
    }

    /// Whether [`write_backlog`](Self::write_backlog) must be called when the socket is writable.
    pub(crate) fn has_backlog(&self) -> bool {
        self.outbox().blocked
    }

    /// Writes a part of what waits; for the dialler, when the socket has become writable.
    pub(crate) fn write_backlog(&self) {
        let mut outbox = self.outbox();
        match self.write(&mut outbox, BACKLOG_WRITE_BYTES) {
            Progress::Everything => outbox.blocked = false,
            Progress::SocketFull | Progress::LimitReached => {}
            Progress::Broken => outbox.close(),
        }
    }

    /// Sends a keep-alive if nothing was sent since the last call, so that a connection that has silently
    /// gone dead is noticed at both ends.
    pub(crate) fn keep_alive(&self) {
        let mut outbox = self.outbox();
        let active = std::mem::take(&mut outbox.active);
        if active || outbox.connection.is_none() || outbox.queued() > 0 {
            return;
        }
        outbox.frames.keep_alive();
        drop(outbox);
        self.flush();
        self.outbox().active = false;
    }

    /// From now on messages are queued and written to `connection`, which must be non-blocking.
    pub(crate) fn connect(&self, connection: Arc<TcpStream>) {
        *self.outbox() = Outbox { connection: Some(connection), ..Outbox::default() };
    }

    /// Forgets the connection and what was queued for it.
    pub(crate) fn disconnect(&self) {
        *self.outbox() = Outbox::default();
    }

    /// Notes the connection that is being made (or `None` when that is over), for [`interrupt`](Self::interrupt).
    pub(crate) fn set_dialling(&self, connection: Option<Arc<TcpStream>>) {
        *self.dialling.lock().expect("nothing panics while holding this lock") = connection;
    }

    /// Makes the dialler look up from whatever it waits for.
    pub(crate) fn interrupt(&self) {
        self.waker.wake();
        let dialling = self.dialling.lock().expect("nothing panics while holding this lock");
        if let Some(connection) = &*dialling {
            // An error means that it is closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// A connection in either direction was established: its loss will be news.
    pub(crate) fn arrived(&self) {
        self.loss_reported.store(false, Ordering::Relaxed);
    }

    /// A connection in either direction broke. Answers whether that is news: when a peer dies both directions
    /// break, and its owner is told once.
    pub(crate) fn loss_is_news(&self) -> bool {
        !self.loss_reported.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn counters(&self) -> PeerCounters {
        PeerCounters {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            dropped_messages: self.dropped_messages.load(Ordering::Relaxed),
            connected: self.outbox().connection.is_some(),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().expect("nothing panics while holding this lock")
    }

    fn write(&self, outbox: &mut Outbox, bytes_max: usize) -> Progress {
        let Some(connection) = outbox.connection.clone() else { return Progress::Everything };
        outbox.frames.seal();
        let limit = outbox.written.saturating_add(bytes_max).min(outbox.frames.len());
        while outbox.written < limit {
            match (&*connection).write(&outbox.frames.sealed()[outbox.written..limit]) {
                Ok(0) => return Progress::Broken,
                Ok(count) => {
                    outbox.written += count;
                    outbox.active = true;
                    self.sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outbox.compact();
                    return Progress::SocketFull;
                }
                Err(_) => return Progress::Broken,
            }
        }
        outbox.compact();
        if outbox.queued() == 0 { Progress::Everything } else { Progress::LimitReached }
    }
}

impl Outbox {
    /// How many bytes wait to be written.
    fn queued(&self) -> usize {
        self.frames.len() - self.written
    }

    /// Frees what was written once that is worth moving the rest.
    fn compact(&mut self) {
        if self.written > self.frames.len() / 2 {
            self.frames.drop_sent(self.written, IDLE_QUEUE_BYTES_MAX);
            self.written = 0;
        }
    }

    /// Ends the connection; the dialler reads the end of the stream and takes it from there.
    fn close(&mut self) {
        if let Some(connection) = &self.connection {
            // An error means that it is closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.frames = FrameWriter::default();
        self.written = 0;
        self.blocked = false;
    }
}
