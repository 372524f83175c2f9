//! One thread for each peer: dials it, watches the connection, dials again when it broke.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::TransportEvent;
use crate::handshake::{self, HandshakeError, Hello, Refusal};
use crate::local::Local;
use crate::sender::Peer;
use crate::wake::Interest;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often something is sent on a connection that has nothing to say.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// After how long without acknowledgement the operating system gives a connection up, in milliseconds. Longer, and
/// after a cut that has healed peers would wait for the next of ever rarer retransmissions; a new connection is
/// there at once. A peer whose process stands still does not count: its system acknowledges.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 1_000;
/// A connection that stood this long was a good one: its loss is followed by a dial at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);
/// A connection that stood this long has come to stay. Until then what is said of the peer is not said again: one that comes and goes
/// in a loop would fill the log.
const SETTLED: Duration = Duration::from_secs(10);

/// Keeps a connection to `peer` until the transport stops.
pub(crate) fn run(local: &Local, peer: &Peer) {
    let mut backoff = Backoff::default();
    while !local.is_stopping() {
        match dial(local, peer) {
            Ok((connection, client_address)) => {
                let since = Instant::now();
                attend(local, peer, &connection, client_address);
                if since.elapsed() >= GOOD_CONNECTION {
                    backoff = Backoff::default();
                }
            }
            Err(error) if !local.is_stopping() => report(peer, &error),
            Err(_) => {}
        }
        let pause = backoff.next_pause();
        if !pause.is_zero() && !local.is_stopping() && peer.waker.sleep(pause).is_err() {
            // Nothing to wait with; do not spin.
            std::thread::sleep(pause);
        }
    }
}

/// Connects and shakes hands; answers the connection and the peer's client address.
fn dial(local: &Local, peer: &Peer) -> Result<(Arc<TcpStream>, String), HandshakeError> {
    let connection = Arc::new(connect(&peer.address)?);
    peer.set_dialling(Some(Arc::clone(&connection)));
    let hello = Hello {
        cluster_id: local.cluster_id,
        from: local.node,
        to: peer.id,
        client_address: local.client_address.clone(),
    };
    // Noted first, looked second: whoever stops the transport either finds the connection or is seen here.
    let outcome = if local.is_stopping() {
        Err(io::Error::from(io::ErrorKind::Interrupted).into())
    } else {
        handshake::dial(&connection, &hello)
    };
    peer.set_dialling(None);
    let client_address = outcome?;
    connection.set_nonblocking(true)?;
    Ok((connection, client_address))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(connection) => {
                connection.set_nodelay(true)?;
                #[cfg(target_os = "linux")]
                rustix::net::sockopt::set_tcp_user_timeout(&connection, UNACKNOWLEDGED_MS_MAX)?;
                return Ok(connection);
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Stays with an established connection until it breaks or the transport stops.
fn attend(local: &Local, peer: &Peer, connection: &Arc<TcpStream>, client_address: String) {
    peer.connect(Arc::clone(connection));
    peer.arrived();
    let (id, address) = (peer.id.0, &peer.address);
    let is_told = peer.notices.info("connected", format_args!("connected to peer node {id:x} at {address}"));
    local.tell(TransportEvent::PeerConnected { peer: peer.id, client_address });
    let end = watch(local, peer, connection, is_told);
    peer.disconnect();
    if local.is_stopping() {
        return;
    }
    peer.notices.info("lost", format_args!("connection to peer node {id:x} at {address} lost: {end}"));
    if peer.loss_is_news() {
        local.tell(TransportEvent::PeerLost(peer.id));
    }
}

/// Writes what [`Peer::flush`] had to leave, keeps the connection alive, and notices its end.
fn watch(local: &Local, peer: &Peer, connection: &TcpStream, is_told: bool) -> io::Error {
    let since = Instant::now();
    let mut kept_alive = since;
    let mut is_settled = false;
    loop {
        let interest = if peer.has_backlog() { Interest::ReadableOrWritable } else { Interest::Readable };
        let ready = match peer.waker.wait(connection, interest, KEEP_ALIVE_INTERVAL) {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        if local.is_stopping() {
            return io::ErrorKind::Interrupted.into();
        }
        if ready.readable
            && let Err(error) = expect_silence(connection)
        {
            return error;
        }
        if ready.writable {
            peer.write_backlog();
        }
        if kept_alive.elapsed() >= KEEP_ALIVE_INTERVAL {
            kept_alive = Instant::now();
            peer.keep_alive();
        }
        if !is_settled && since.elapsed() >= SETTLED {
            is_settled = true;
            settle(peer, is_told);
        }
    }
}

/// The connection has come to stay: what goes wrong from now on is news, and the last word in the log is that it stands.
fn settle(peer: &Peer, is_told: bool) {
    let left_out = peer.notices.forget();
    if !is_told {
        let (id, address) = (peer.id.0, &peer.address);
        let text = format_args!(
            "connected to peer node {id:x} at {address} ({left_out} lines about it were left out)"
        );
        peer.notices.info("connected", text);
    }
}

/// The side that was dialled says nothing after its handshake, so that all there is to read is the end.
fn expect_silence(mut connection: &TcpStream) -> io::Result<()> {
    match connection.read(&mut [0; 1]) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer")),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent what it must not send here")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error),
    }
}

fn report(peer: &Peer, error: &HandshakeError) {
    let kind = match error {
        HandshakeError::Io(_) => "io",
        HandshakeError::TimedOut => "timed out",
        HandshakeError::NotAPeer | HandshakeError::Malformed => "not a peer",
        HandshakeError::Version { .. } | HandshakeError::Refused(Refusal::Version { .. }) => "version",
        HandshakeError::Refused(Refusal::Cluster { .. }) => "cluster",
        HandshakeError::Refused(Refusal::Recipient { .. }) => "recipient",
        HandshakeError::Refused(Refusal::UnknownSender) => "unknown sender",
    };
    let (id, address) = (peer.id.0, &peer.address);
    peer.notices
        .warn(kind, format_args!("can't connect to peer node {id:x} at {address}, still trying: {error}"));
}

/// How long to wait before the next dial: not at all, then 20 ms, doubled up to 500 ms, each shortened at
/// random by up to half so that nodes do not dial in step.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST_MS: u64 = 20;
    const LONGEST_MS: u64 = 500;

    fn next_pause(&mut self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            self.failures = 1;
            return Duration::ZERO;
        };
        self.failures = self.failures.saturating_add(1);
        let full_ms = (Self::FIRST_MS << doublings.min(10)).min(Self::LONGEST_MS);
        let random = RandomState::new().build_hasher().finish();
        Duration::from_millis(full_ms - random % (full_ms / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_start_at_nothing_and_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_pause(), Duration::ZERO);
        for full_ms in [20, 40, 80, 160, 320, 500, 500, 500] {
            let pause_ms = backoff.next_pause().as_millis();
            assert!((full_ms / 2..=full_ms).contains(&pause_ms), "{pause_ms} of {full_ms}");
        }
    }
}
