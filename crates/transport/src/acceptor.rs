//! The connections that peers make to this node: one thread accepts them, a short-lived one for each shakes hands. What
//! has shaken hands is the [`inbox`](crate::inbox)'s.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ruvector_protocol::NodeId;

use crate::handshake::{self, HandshakeError, Hello, Refusal, Reply};
use crate::inbox::Arrival;
use crate::local::Local;
use crate::notice::Notices;
use crate::sender::Peer;
use crate::wake::{Interest, Waker};

/// How many connections may be open that have not said who they are. More are closed at once.
const STRANGERS_MAX: usize = 64;
/// How long to leave the listener alone when accepting failed, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Only an upper bound: the waker ends the wait.
const ACCEPT_WAIT: Duration = Duration::from_secs(3600);

/// What the accepting thread and those that shake hands share.
#[derive(Debug)]
pub(crate) struct Acceptor {
    local: Arc<Local>,
    peers: Arc<BTreeMap<NodeId, Arc<Peer>>>,
    waker: Waker,
    notices: Notices,
    strangers: Mutex<Strangers>,
}

/// The connections whose handshake is under way, so that stopping can end them.
#[derive(Debug, Default)]
struct Strangers {
    next_id: u64,
    open: BTreeMap<u64, Arc<TcpStream>>,
}

/// A connection whose handshake is under way.
#[derive(Debug)]
struct Stranger {
    id: u64,
    stream: Arc<TcpStream>,
    address: SocketAddr,
}

impl Acceptor {
    pub(crate) fn new(local: Arc<Local>, peers: Arc<BTreeMap<NodeId, Arc<Peer>>>) -> io::Result<Self> {
        let strangers = Mutex::default();
        Ok(Self { local, peers, waker: Waker::new()?, notices: Notices::default(), strangers })
    }

    /// Accepts connections until the transport stops, then ends the handshakes and joins their threads.
    pub(crate) fn run(self: &Arc<Self>, listener: &TcpListener) {
        let mut handshakes: Vec<JoinHandle<()>> = Vec::new();
        while !self.local.is_stopping() {
            if let Err(error) = self.waker.wait(listener, Interest::Readable, ACCEPT_WAIT) {
                self.notices.warn("wait", format_args!("waiting for peers failed: {error}"));
                thread::sleep(ACCEPT_PAUSE);
            }
            handshakes.retain(|handshake| !handshake.is_finished());
            self.accept_all(listener, &mut handshakes);
        }
        for stream in self.strangers().open.values() {
            close(stream);
        }
        for handshake in handshakes {
            let _ = handshake.join();
        }
    }

    /// Ends [`run`](Self::run), once the transport is marked as stopping.
    pub(crate) fn interrupt(&self) {
        self.waker.wake();
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener, handshakes: &mut Vec<JoinHandle<()>>) {
        while !self.local.is_stopping() {
            match listener.accept() {
                Ok((stream, address)) => handshakes.extend(self.begin(stream, address)),
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

    /// Has a thread shake hands with whoever connected.
    fn begin(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) -> Option<JoinHandle<()>> {
        let Some(stranger) = self.admit(stream, address) else {
            let text =
                format_args!("closed a connection from {address}: too many have not said who they are");
            self.notices.warn("strangers", text);
            return None;
        };
        let id = stranger.id;
        let acceptor = Arc::clone(self);
        let name = "peer-hello".to_owned();
        match thread::Builder::new().name(name).spawn(move || acceptor.attend(&stranger)) {
            Ok(handshake) => Some(handshake),
            Err(error) => {
                self.notices
                    .warn("thread", format_args!("no thread for a connection from {address}: {error}"));
                self.strangers().open.remove(&id);
                None
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<Stranger> {
        let mut strangers = self.strangers();
        if strangers.open.len() >= STRANGERS_MAX {
            return None;
        }
        let id = strangers.next_id;
        strangers.next_id += 1;
        let stream = Arc::new(stream);
        strangers.open.insert(id, Arc::clone(&stream));
        Some(Stranger { id, stream, address })
    }

    /// The whole handshake.
    fn attend(&self, stranger: &Stranger) {
        let outcome = self.greet(stranger).and_then(|peer| self.welcome(stranger, peer));
        self.strangers().open.remove(&stranger.id);
        if let Err(error) = outcome {
            close(&stranger.stream);
            self.report(stranger, &error);
        }
    }

    /// Hears who it is, and refuses who must be refused.
    fn greet(&self, stranger: &Stranger) -> Result<&Arc<Peer>, HandshakeError> {
        let stream = &stranger.stream;
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
            self.report_refusal(stranger, &hello, refusal);
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

    /// Hands the connection to the owner, and then welcomes the peer: what the peer takes for its newest connection must
    /// be that here, too.
    fn welcome(&self, stranger: &Stranger, peer: &Arc<Peer>) -> Result<(), HandshakeError> {
        let stream = &stranger.stream;
        // An answer fits an empty socket.
        stream.set_nonblocking(true)?;
        let (peer, address) = (Arc::clone(peer), stranger.address);
        // It lives, so a dial to it will succeed now.
        peer.waker.wake();
        self.local.hand_over(Arrival { peer, stream: Arc::clone(stream), address });
        handshake::answer(stream, &Reply::Welcome { client_address: self.local.client_address.clone() })
    }

    fn report_refusal(&self, stranger: &Stranger, hello: &Hello, refusal: Refusal) {
        let (cluster_id, node) = (self.local.cluster_id, self.local.node.0);
        let (theirs, from, to) = (hello.cluster_id, hello.from.0, hello.to.0);
        let address = stranger.address;
        match refusal {
            // Told by `report`: there is no hello of another version.
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

    fn report(&self, stranger: &Stranger, error: &HandshakeError) {
        let kind = match error {
            // Said already, with both sides' words.
            HandshakeError::Refused(_) => return,
            HandshakeError::Io(_) => "handshake io",
            HandshakeError::TimedOut => "handshake time",
            HandshakeError::NotAPeer | HandshakeError::Malformed => "handshake",
            HandshakeError::Version { .. } => "handshake version",
        };
        if !self.local.is_stopping() {
            let address = stranger.address;
            self.notices
                .warn(kind, format_args!("closed a connection from {address} to the peer port: {error}"));
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().expect("nothing panics while holding this lock")
    }
}

fn close(stream: &TcpStream) {
    // An error means that it is closed already.
    let _ = stream.shutdown(Shutdown::Both);
}
