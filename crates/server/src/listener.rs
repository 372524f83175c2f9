//! Takes connections: HTTP/1.1 and HTTP/2 without encryption on one port.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ruvector_node::daemon::{Budget, Notices};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::connections::{Connection, Connections, RESERVED};
use crate::frontend::{Accounts, Frontend};
use crate::groups::Groups;
use crate::http;
use crate::metered::Metered;
use crate::serve_error::ServeError;
use crate::wire::pieces::UNSENT_BYTES_MAX;

/// Larger headers than this are refused, in bytes: room for 64 KiB of a client's own, tokens for instance.
const HEADER_BYTES_MAX: u32 = 80 * 1024;
/// So many calls of a connection may be given up by their client before they are begun. (The library's default, 20,
/// ends the connection of a busy client whose calls run out of time together, with everything else on it.)
const RESET_STREAMS_MAX: usize = 4_096;
/// So many frames may come on a connection for calls that are over: also for those that were refused while their
/// message came.
const LOCAL_RESETS_MAX: usize = 16_384;
/// What clients may send before it is read: all of them together about so much, each at least and at most this.
const WINDOWS_BYTES: u32 = 64 << 20;
const WINDOW_BYTES_MIN: u32 = 64 << 10;
const WINDOW_BYTES_MAX: u32 = 1 << 20;
/// A client that does not answer pings for this long is gone.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The least that a client of HTTP/2 sends at once: its preface. A request of HTTP/1 is no shorter.
const FIRST_BYTES: u64 = 16;
/// How long calls may go on when the server stops. Watches never end by themselves.
const FAREWELL: Duration = Duration::from_millis(500);
/// Files that a node opens beside its connections to clients, with some to spare.
const OTHER_FILES: usize = 192;
/// How long to wait when the system has no descriptor for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds a listener. Refuses what others than this machine could reach, unless told not to.
pub(crate) fn bind(whom: &'static str, address: &str, insecure: bool) -> Result<TcpListener, ServeError> {
    let refused = |reason: String| ServeError::Listen { whom, address: address.to_owned(), reason };
    let resolved = address.to_socket_addrs().map_err(|error| {
        refused(format!("this is no address of the form host:port, or the host is not known ({error})"))
    })?;
    let resolved: Vec<SocketAddr> = resolved.collect();
    if resolved.iter().any(|resolved| !resolved.ip().is_loopback()) {
        if !insecure {
            return Err(refused(
                "other machines could reach it and nothing would be encrypted or authenticated; listen on \
                 127.0.0.1, or pass --insecure if the network is trusted"
                    .to_owned(),
            ));
        }
        tracing::warn!(
            address,
            "INSECURE: listening for {whom} without encryption or authentication; anyone who reaches this \
             address can read and change everything"
        );
    }
    TcpListener::bind(resolved.as_slice()).map_err(|error| refused(why_not_bound(&error)))
}

fn why_not_bound(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        "the port is in use; stop the program that uses it or choose another port".to_owned()
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine does not have that address".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "not permitted; ports below 1024 need special rights".to_owned()
    } else {
        error.to_string()
    }
}

/// Serves connections until told to stop, then gives calls that are under way a moment. `looks_budget` is for those
/// who look what is wrong, apart from the others.
pub(crate) async fn run(
    listener: tokio::net::TcpListener,
    groups: Arc<Groups>,
    looks_budget: Arc<Budget>,
    mut stop: watch::Receiver<()>,
) {
    let budget = Arc::clone(&groups.metadata().budget);
    let most = groups.metadata().limits.connections;
    let connections = Connections::new(connections_max(most));
    let plain = http::router(Arc::clone(&groups));
    let notices = Notices::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                notices.warn("accept", format_args!("can't take a connection: {error}"));
                connections.make_room();
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let accounts = Accounts { usual: budget.share(), looks: looks_budget.share() };
        let Some(connection) = connections.admit(accounts.both()) else {
            groups.metrics.connections_refused.inc();
            notices.warn("full", format_args!("more than {most} connections are in use: closed one at once"));
            continue;
        };
        let frontend =
            Frontend::new(accounts, remote.ip(), Arc::clone(&connection), Arc::clone(&groups), plain.clone());
        tokio::spawn(serve_connection(stream, frontend, Arc::clone(&groups), connection, stop.clone()));
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, connections.all_ended()).await;
}

/// How many connections the system lets the node have, if it is told to have so many.
fn connections_max(wanted: usize) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = usize::try_from(files.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let most = files.saturating_sub(RESERVED + OTHER_FILES).max(RESERVED);
    if most < wanted {
        tracing::warn!(most, wanted, "the system's limit of open files leaves fewer connections");
    }
    most.min(wanted)
}

/// How a connection is served that is opened now.
fn protocols(groups: &Groups) -> auto::Builder<TokioExecutor> {
    let limits = &groups.metadata().limits;
    let connections = u32::try_from(groups.metrics.connections.get()).unwrap_or(u32::MAX);
    let window = (WINDOWS_BYTES / connections.max(1)).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.handshake_seconds));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_send_buf_size(UNSENT_BYTES_MAX)
        .initial_stream_window_size((window / 2).max(WINDOW_BYTES_MIN))
        .initial_connection_window_size(window)
        .max_concurrent_streams(limits.streams_per_connection);
    builder
}

/// Serves one connection. What goes wrong on it, garbage included, ends it and nothing else.
async fn serve_connection(
    stream: TcpStream,
    frontend: Frontend,
    groups: Arc<Groups>,
    open: Arc<Connection>,
    mut stop: watch::Receiver<()>,
) {
    groups.metrics.connections.inc();
    let server = protocols(&groups);
    let _ = stream.set_nodelay(true);
    let (stream, outlet) = Metered::new(stream, &groups.metrics);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), frontend));
    let handshake = Duration::from_secs(groups.metadata().limits.handshake_seconds);
    let mut silent = pin!(async {
        tokio::time::sleep(handshake).await;
        if outlet.received() >= FIRST_BYTES {
            std::future::pending::<()>().await;
        }
    });
    let ended = tokio::select! {
        // In order: to draw one costs each turn of every connection a little.
        biased;
        ended = poll_fn(|task| outlet.drive(connection.as_mut(), task)) => Some(ended),
        () = &mut silent => None,
        _ = stopped_or_closed(&mut stop, &open) => {
            connection.as_mut().graceful_shutdown();
            let ending = poll_fn(|task| outlet.drive(connection.as_mut(), task));
            tokio::time::timeout(FAREWELL, ending).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    groups.metrics.connections.dec();
}

/// Waits until the server stops, or the connection has to make room.
async fn stopped_or_closed(stop: &mut watch::Receiver<()>, open: &Connection) {
    tokio::select! {
        _ = stop.changed() => {}
        () = open.closed() => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on_unless_insecure() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let text = bind("clients", address, false).unwrap_err().to_string();
            assert!(text.starts_with(&format!("can't listen for clients on {address}: ")), "{text}");
            assert!(text.contains("--insecure"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
        for address in ["127.0.0.1:0", "127.9.8.7:0", "localhost:0"] {
            bind("peers", address, false).unwrap();
        }
        bind("clients", "0.0.0.0:0", true).unwrap();
    }

    #[test]
    fn an_address_that_can_t_be_bound_says_why() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let text = bind("peers", &address, false).unwrap_err().to_string();
        assert!(text.contains(&address) && text.contains("the port is in use"), "{text}");
        let text = bind("peers", "127.0.0.1", false).unwrap_err().to_string();
        assert!(text.contains("host:port"), "{text}");
    }
}
