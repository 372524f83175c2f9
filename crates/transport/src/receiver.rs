//! The connections that peers made to this node: one thread that accepts them, one for each that reads.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ruvector_protocol::NodeId;

use crate::frame::{Frame, FrameError, FrameReader};
use crate::handshake::{self, HandshakeError, Hello, Refusal, Reply};
use crate::notice::Notices;
use crate::sender::Peer;
use crate::wake::{Interest, Waker};
use crate::{Local, TransportEvent};

/// How many connections may be open that have not said who they are. More are closed at once.
const STRANGERS_MAX: usize = 64;
/// A peer sends a keep-alive at least every 3 s; one that is silent for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long to leave the listener alone when accepting failed, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Only an upper bound: the waker ends the wait.
const ACCEPT_WAIT: Duration = Duration::from_secs(3600);

/// What the accepting thread and the reading threads share.
#[derive(Debug)]
pub(crate) struct Receiver {
    local: Arc<Local>,
    peers: Arc<BTreeMap<NodeId, Arc<Peer>>>,
    waker: Waker,
    notices: Notices,
    connections: Mutex<Connections>,
}

/// Invariant: every id in `current` is in `open`.
#[derive(Debug, Default)]
struct Connections {
    next_id: u64,
    open: BTreeMap<u64, Arc<Connection>>,
    /// The newest connection of each peer.
    current: BTreeMap<NodeId, u64>,
    strangers: usize,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    stream: TcpStream,
    address: SocketAddr,
    /// The peer has made a newer one: nothing of this one is passed on any more.
    replaced: AtomicBool,
}

/// Why reading from a peer ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Closed,
    #[error("nothing was heard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("{0}")]
    Io(io::Error),
    #[error("the welcome could not be sent: {0}")]
    Handshake(HandshakeError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a message from node {:x} to node {:x} came", from.0, to.0)]
    Address { from: NodeId, to: NodeId },
    #[error("the peer made a newer connection")]
    Replaced,
}

impl Receiver {
    pub(crate) fn new(local: Arc<Local>, peers: Arc<BTreeMap<NodeId, Arc<Peer>>>) -> io::Result<Self> {
        let connections = Mutex::default();
        Ok(Self { local, peers, waker: Waker::new()?, notices: Notices::default(), connections })
    }

    /// Accepts connections until the transport stops, then ends and joins their threads.
    pub(crate) fn run(self: &Arc<Self>, listener: &TcpListener) {
        let mut readers: Vec<JoinHandle<()>> = Vec::new();
        while !self.local.is_stopping() {
            if let Err(error) = self.waker.wait(listener, Interest::Readable, ACCEPT_WAIT) {
                self.notices.warn("wait", format_args!("waiting for peers failed: {error}"));
                thread::sleep(ACCEPT_PAUSE);
            }
            readers.retain(|reader| !reader.is_finished());
            self.accept_all(listener, &mut readers);
        }
        for connection in self.connections().open.values() {
            connection.close();
        }
        for reader in readers {
            // A reader that panicked (in the owner's callback) has said so itself.
            let _ = reader.join();
        }
    }

    /// Ends [`run`](Self::run), once the transport is marked as stopping.
    pub(crate) fn interrupt(&self) {
        self.waker.wake();
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener, readers: &mut Vec<JoinHandle<()>>) {
        while !self.local.is_stopping() {
            match listener.accept() {
                Ok((stream, address)) => readers.extend(self.start_reader(stream, address)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.notices.warn("accept", format_args!("accepting a peer failed: {error}"));
                    thread::sleep(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn start_reader(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) -> Option<JoinHandle<()>> {
        let Some(connection) = self.admit(stream, address) else {
            let text =
                format_args!("closed a connection from {address}: too many have not said who they are");
            self.notices.warn("strangers", text);
            return None;
        };
        let id = connection.id;
        let receiver = Arc::clone(self);
        let name = "peer-in".to_owned();
        match thread::Builder::new().name(name).spawn(move || receiver.serve(&connection)) {
            Ok(reader) => Some(reader),
            Err(error) => {
                self.notices
                    .warn("thread", format_args!("no thread for a connection from {address}: {error}"));
                self.connections().forget_stranger(id);
                None
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<Arc<Connection>> {
        let mut connections = self.connections();
        if connections.strangers >= STRANGERS_MAX {
            return None;
        }
        connections.strangers += 1;
        let id = connections.next_id;
        connections.next_id += 1;
        let connection = Arc::new(Connection { id, stream, address, replaced: AtomicBool::new(false) });
        connections.open.insert(id, Arc::clone(&connection));
        Some(connection)
    }

    /// The life of a connection.
    fn serve(&self, connection: &Connection) {
        let peer = match self.greet(connection) {
            Ok(peer) => peer,
            Err(error) => {
                self.connections().forget_stranger(connection.id);
                return self.report_stranger(connection, &error);
            }
        };
        // Before the welcome: what the peer takes for its newest connection must be that here, too.
        self.connections().adopt(connection.id, peer.id);
        peer.arrived();
        // It lives, so a dial to it will succeed now.
        peer.waker.wake();
        let end = self.read(connection, peer);
        let was_current = self.connections().forget_peer(connection.id, peer.id);
        connection.close();
        if !self.local.is_stopping() && was_current {
            self.report_end(connection, peer, &end);
        }
    }

    /// Hears who it is, and refuses who must be refused.
    fn greet(&self, connection: &Connection) -> Result<&Arc<Peer>, HandshakeError> {
        let stream = &connection.stream;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let heard = handshake::hear(stream);
        if let Err(HandshakeError::Version { .. }) = heard {
            // The reply's prefix tells our version; its body will not be looked at.
            let answering = handshake::PROTOCOL_VERSION;
            handshake::answer(stream, &Reply::Refused(Refusal::Version { answering }))?;
        }
        let hello = heard?;
        self.recognise(&hello).map_err(|refusal| {
            self.report_refusal(connection, &hello, refusal);
            match handshake::answer(stream, &Reply::Refused(refusal)) {
                Ok(()) => HandshakeError::Refused(refusal),
                Err(error) => error,
            }
        })
    }

    fn recognise(&self, hello: &Hello) -> Result<&Arc<Peer>, Refusal> {
        if hello.cluster_id != self.local.cluster_id {
            return Err(Refusal::Cluster { answering: self.local.cluster_id });
        }
        if hello.to != self.local.node {
            return Err(Refusal::Recipient { answering: self.local.node });
        }
        self.peers.get(&hello.from).ok_or(Refusal::UnknownSender)
    }

    /// Welcomes the peer and passes on what comes, until nothing more can come.
    fn read(&self, connection: &Connection, peer: &Peer) -> End {
        let mut stream = &connection.stream;
        let client_address = self.local.client_address.clone();
        if let Err(error) = handshake::answer(stream, &Reply::Welcome { client_address }) {
            return End::Handshake(error);
        }
        if let Err(error) = stream.set_read_timeout(Some(SILENCE_MAX)) {
            return End::Io(error);
        }
        let mut reader = FrameReader::new();
        loop {
            match reader.fill(&mut stream) {
                Ok(0) => return End::Closed,
                Ok(count) => peer.received_bytes.fetch_add(count as u64, Ordering::Relaxed),
                Err(error) if handshake::is_timeout(&error) => return End::Silent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return End::Io(error),
            };
            if connection.replaced.load(Ordering::Relaxed) {
                return End::Replaced;
            }
            if let Err(end) = self.pass_on(&mut reader, peer) {
                return end;
            }
        }
    }

    fn pass_on(&self, reader: &mut FrameReader, peer: &Peer) -> Result<(), End> {
        while let Some(frame) = reader.next_frame()? {
            let envelope = match frame {
                Frame::KeepAlive => continue,
                Frame::Message(envelope) => envelope,
            };
            if envelope.from != peer.id || envelope.to != self.local.node {
                return Err(End::Address { from: envelope.from, to: envelope.to });
            }
            (self.local.events)(TransportEvent::Received(envelope));
        }
        Ok(())
    }

    fn report_refusal(&self, connection: &Connection, hello: &Hello, refusal: Refusal) {
        let (cluster_id, node) = (self.local.cluster_id, self.local.node.0);
        let (theirs, from, to) = (hello.cluster_id, hello.from.0, hello.to.0);
        let address = connection.address;
        match refusal {
            // Told by `report_stranger`: there is no hello of another version.
            Refusal::Version { .. } => {}
            Refusal::Cluster { .. } => self.notices.warn(
                "cluster",
                format_args!(
                    "refused peer node {from:x} from {address}: it belongs to cluster {theirs:016x}, this node \
                     to {cluster_id:016x}"
                ),
            ),
            Refusal::Recipient { .. } => self.notices.warn(
                "recipient",
                format_args!(
                    "refused peer node {from:x} from {address}: it wants node {to:x}, this is node {node:x}"
                ),
            ),
            Refusal::UnknownSender => self.notices.warn(
                "unknown sender",
                format_args!("refused peer node {from:x} from {address}: it is not a member of this cluster"),
            ),
        }
    }

    fn report_stranger(&self, connection: &Connection, error: &HandshakeError) {
        let kind = match error {
            // Said already, with both sides' words.
            HandshakeError::Refused(_) => return,
            HandshakeError::Io(_) => "handshake io",
            HandshakeError::TimedOut => "handshake time",
            HandshakeError::NotAPeer | HandshakeError::Malformed => "handshake",
            HandshakeError::Version { .. } => "handshake version",
        };
        if !self.local.is_stopping() {
            let address = connection.address;
            self.notices
                .warn(kind, format_args!("closed a connection from {address} to the peer port: {error}"));
        }
    }

    fn report_end(&self, connection: &Connection, peer: &Peer, end: &End) {
        let address = connection.address;
        match end {
            End::Closed | End::Silent | End::Io(_) | End::Handshake(_) | End::Replaced => {
                tracing::info!("connection from peer node {:x} at {address} ended: {end}", peer.id.0);
            }
            End::Frame(_) | End::Address { .. } => {
                let text =
                    format_args!("closed the connection from peer node {:x} at {address}: {end}", peer.id.0);
                self.notices.warn("frame", text);
            }
        }
        if peer.loss_is_news() {
            (self.local.events)(TransportEvent::PeerLost(peer.id));
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().expect("nothing panics while holding this lock")
    }
}

impl Connections {
    /// Makes a stranger's connection the one of `peer`, in place of an older one.
    fn adopt(&mut self, id: u64, peer: NodeId) {
        self.strangers -= 1;
        if let Some(older) = self.current.insert(peer, id) {
            let older = self.open.get(&older).expect("what is current is open");
            older.replaced.store(true, Ordering::Relaxed);
            older.close();
        }
    }

    fn forget_stranger(&mut self, id: u64) {
        self.strangers -= 1;
        self.open.remove(&id);
    }

    /// Answers whether the connection was still the peer's newest.
    fn forget_peer(&mut self, id: u64, peer: NodeId) -> bool {
        self.open.remove(&id);
        let was_current = self.current.get(&peer) == Some(&id);
        if was_current {
            self.current.remove(&peer);
        }
        was_current
    }
}

impl Connection {
    fn close(&self) {
        // An error means that it is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
