//! Takes connections: HTTP/1.1 and HTTP/2 without encryption on one port.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ruvector_node::Notices;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use crate::context::Context;
use crate::frontend::Frontend;
use crate::metered::Metered;
use crate::server::ServeError;

/// Larger headers than this are refused, in bytes: room for 64 KiB of a client's own, tokens for instance.
const HEADER_BYTES_MAX: u32 = 80 * 1024;
/// A client that does not answer pings for this long is gone.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The least that a client of HTTP/2 sends at once: its preface. A request of HTTP/1 is no shorter.
const FIRST_BYTES: u64 = 16;
/// How long calls may go on when the server stops. Watches never end by themselves.
const FAREWELL: Duration = Duration::from_millis(500);
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

/// Serves connections until told to stop, then gives calls that are under way a moment.
pub(crate) async fn run(
    listener: tokio::net::TcpListener,
    context: Arc<Context>,
    mut stop: watch::Receiver<()>,
) {
    let slots = Arc::new(Semaphore::new(context.limits.connections));
    let server = Arc::new(protocols(&context));
    let frontend = Frontend::new(&context);
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
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            context.metrics.connections_refused.inc();
            let most = context.limits.connections;
            notices.warn("full", format_args!("more than {most} connections: closed one at once"));
            continue;
        };
        let serving = serve_connection(
            stream,
            Arc::clone(&server),
            frontend.clone().for_client_at(remote.ip()),
            Arc::clone(&context),
            stop.clone(),
        );
        tokio::spawn(async move {
            serving.await;
            drop(slot);
        });
    }
    drop(listener);
    let all = u32::try_from(context.limits.connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(FAREWELL, slots.acquire_many(all)).await;
}

fn protocols(context: &Context) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(context.limits.handshake_seconds));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(context.limits.streams_per_connection);
    builder
}

/// Serves one connection. What goes wrong on it, garbage included, ends it and nothing else.
async fn serve_connection(
    stream: TcpStream,
    server: Arc<auto::Builder<TokioExecutor>>,
    frontend: Frontend,
    context: Arc<Context>,
    mut stop: watch::Receiver<()>,
) {
    context.metrics.connections.inc();
    let _ = stream.set_nodelay(true);
    let (stream, outlet) = Metered::new(stream, &context.metrics);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), frontend));
    let handshake = Duration::from_secs(context.limits.handshake_seconds);
    let mut silent = pin!(async {
        tokio::time::sleep(handshake).await;
        if outlet.received() >= FIRST_BYTES {
            std::future::pending::<()>().await;
        }
    });
    let ended = tokio::select! {
        ended = poll_fn(|task| outlet.drive(connection.as_mut(), task)) => Some(ended),
        () = &mut silent => None,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            let ending = poll_fn(|task| outlet.drive(connection.as_mut(), task));
            tokio::time::timeout(FAREWELL, ending).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    context.metrics.connections.dec();
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
