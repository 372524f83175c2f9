//! What the server counts. Counters are made once and found by index, so that counting costs one addition.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::{Code, Response, Status};

use crate::service::counters::Counters;

/// The calls that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compact,
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseKeepAlive,
    LeaseTimeToLive,
    LeaseLeases,
    MemberList,
    Alarm,
    Status,
    Authenticate,
    HealthCheck,
    HealthWatch,
    /// Each request on a native stream.
    Native,
}

impl Method {
    /// All of them, in the order of their numbers, with their names on the wire.
    const ALL: [(Self, &'static str, &'static str); 18] = [
        (Self::Range, "etcdserverpb.KV", "Range"),
        (Self::Put, "etcdserverpb.KV", "Put"),
        (Self::DeleteRange, "etcdserverpb.KV", "DeleteRange"),
        (Self::Txn, "etcdserverpb.KV", "Txn"),
        (Self::Compact, "etcdserverpb.KV", "Compact"),
        (Self::Watch, "etcdserverpb.Watch", "Watch"),
        (Self::LeaseGrant, "etcdserverpb.Lease", "LeaseGrant"),
        (Self::LeaseRevoke, "etcdserverpb.Lease", "LeaseRevoke"),
        (Self::LeaseKeepAlive, "etcdserverpb.Lease", "LeaseKeepAlive"),
        (Self::LeaseTimeToLive, "etcdserverpb.Lease", "LeaseTimeToLive"),
        (Self::LeaseLeases, "etcdserverpb.Lease", "LeaseLeases"),
        (Self::MemberList, "etcdserverpb.Cluster", "MemberList"),
        (Self::Alarm, "etcdserverpb.Maintenance", "Alarm"),
        (Self::Status, "etcdserverpb.Maintenance", "Status"),
        (Self::Authenticate, "etcdserverpb.Auth", "Authenticate"),
        (Self::HealthCheck, "grpc.health.v1.Health", "Check"),
        (Self::HealthWatch, "grpc.health.v1.Health", "Watch"),
        (Self::Native, "ruvector.v1.Native", "Exchange"),
    ];

    /// The kind of call, as go-grpc-prometheus names it.
    fn kind(self) -> &'static str {
        match self {
            Self::Watch | Self::LeaseKeepAlive | Self::Native => "bidi_stream",
            Self::HealthWatch => "server_stream",
            Self::Range
            | Self::Put
            | Self::DeleteRange
            | Self::Txn
            | Self::Compact
            | Self::LeaseGrant
            | Self::LeaseRevoke
            | Self::LeaseTimeToLive
            | Self::LeaseLeases
            | Self::MemberList
            | Self::Alarm
            | Self::Status
            | Self::HealthCheck
            | Self::Authenticate => "unary",
        }
    }

    /// The method that a call of this path is of, if it is among them.
    fn of_path(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let found = Self::ALL.iter().find(|(_, of, name)| *name == method && *of == service);
        found.map(|(method, _, _)| *method)
    }
}

/// The codes of gRPC by number, as go-grpc-prometheus names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedCall {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_code: &'static str,
}

/// What the server counts.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    /// By method.
    started: Vec<Counter>,
    /// By method, then by code. Streams have a share in theirs.
    handled: Vec<Arc<[Counter]>>,
    /// What the service counts.
    pub(crate) service: Counters,
    /// Bytes from clients, of all protocols.
    pub(crate) received_bytes: Counter,
    /// Bytes to clients, of all protocols.
    pub(crate) sent_bytes: Counter,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections closed because there were too many.
    pub(crate) connections_refused: Counter,
}

impl Metrics {
    /// Registers everything. The library adds `_total` to the names of counters.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let begun = Family::<Call, Counter>::default();
        let ended = Family::<EndedCall, Counter>::default();
        let mut started = Vec::new();
        let mut handled = Vec::new();
        for (method, grpc_service, grpc_method) in Method::ALL {
            let grpc_type = method.kind();
            if method == Method::Native {
                // Never counted, and so not shown.
                started.push(Counter::default());
            } else {
                started.push(begun.get_or_create_owned(&Call { grpc_type, grpc_service, grpc_method }));
            }
            let by_code = CODES.map(|grpc_code| {
                ended.get_or_create_owned(&EndedCall { grpc_type, grpc_service, grpc_method, grpc_code })
            });
            handled.push(Arc::from(by_code));
        }
        registry.register("grpc_server_started", "Calls and streams that began", begun);
        let help = "Calls and streams that ended, and requests of native streams, by code";
        registry.register("grpc_server_handled", help, ended);
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let watch_events = counter("etcd_debugging_mvcc_events", "Events sent to watches");
        let received_bytes =
            counter("etcd_network_client_grpc_received_bytes", "Bytes received from clients");
        let sent_bytes = counter("etcd_network_client_grpc_sent_bytes", "Bytes sent to clients");
        let connections_refused =
            counter("ruvector_client_connections_refused", "Connections closed because of their number");
        let proposals_failed =
            counter("etcd_server_proposals_failed", "Commands whose success could not be confirmed");
        let connections = Gauge::default();
        registry.register("ruvector_client_connections", "Open connections of clients", connections.clone());
        Self {
            registry,
            started,
            handled,
            service: Counters { watch_events, proposals_failed },
            received_bytes,
            sent_bytes,
            connections,
            connections_refused,
        }
    }

    /// Counts a call that begins, and tells its method, if that is among those that are counted. Streams of the
    /// native protocol are not: of them each request is counted when it is answered.
    pub(crate) fn begun(&self, path: &str) -> Option<Method> {
        let method = Method::of_path(path)?;
        if method != Method::Native {
            self.started[method as usize].inc();
        }
        Some(method)
    }

    /// Counts a call that is refused before its service is asked.
    pub(crate) fn refused(&self, method: Method, code: Code) {
        if method != Method::Native {
            self.count(method, code, 1);
        }
    }

    /// Counts a refusal to open a stream, or makes the stream count its own end.
    pub(crate) fn opened<T>(
        &self,
        method: Method,
        opened: Result<Response<Stream<T>>, Status>,
    ) -> Result<Response<Stream<T>>, Status>
    where
        T: 'static,
    {
        let ended = Arc::clone(&self.handled[method as usize]);
        match opened {
            Ok(response) => {
                Ok(response.map(|stream| Box::pin(Counted { stream, ended, is_counted: false }) as _))
            }
            Err(status) => self.handled(method, Err(status)),
        }
    }

    /// Counts an answer and passes it on.
    pub(crate) fn handled<T>(&self, method: Method, answer: Result<T, Status>) -> Result<T, Status> {
        self.count(method, answer.as_ref().err().map_or(Code::Ok, Status::code), 1);
        answer
    }

    /// Counts answers.
    pub(crate) fn count(&self, method: Method, code: Code, answers: u64) {
        if answers > 0 {
            self.counter(method, code).inc_by(answers);
        }
    }

    fn counter(&self, method: Method, code: Code) -> &Counter {
        &self.handled[method as usize][code as i32 as usize]
    }
}

/// The answers of a stream.
pub(crate) type Stream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// A stream that counts its end: by the error that it ends with, or as canceled if its client goes before.
struct Counted<T> {
    stream: Stream<T>,
    /// By code.
    ended: Arc<[Counter]>,
    is_counted: bool,
}

impl<T> Counted<T> {
    fn count(&mut self, code: Code) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.ended[code as i32 as usize].inc();
        }
    }
}

impl<T> futures::Stream for Counted<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.stream.as_mut().poll_next(task);
        match &polled {
            Poll::Ready(None) => self.count(Code::Ok),
            Poll::Ready(Some(Err(status))) => self.count(status.code()),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn methods_are_numbered_in_the_order_of_their_table() {
        for (number, (method, _, _)) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, number, "{method:?}");
        }
    }

    #[test]
    fn an_answer_is_counted_under_its_method_and_code() {
        let metrics = Metrics::new();
        metrics.handled(Method::Put, Ok(())).unwrap();
        metrics.handled::<()>(Method::Status, Err(Status::unauthenticated(""))).unwrap_err();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry).unwrap();
        let line = |service: &str, method: &str, code: &str, count: u32| {
            format!(
                "grpc_server_handled_total{{grpc_type=\"unary\",grpc_service=\"etcdserverpb.{service}\",\
                 grpc_method=\"{method}\",grpc_code=\"{code}\"}} {count}\n"
            )
        };
        assert!(text.contains(&line("KV", "Put", "OK", 1)), "{text}");
        assert!(text.contains(&line("Maintenance", "Status", "Unauthenticated", 1)), "{text}");
        assert!(text.contains(&line("KV", "Range", "OK", 0)), "{text}");
    }

    #[test]
    fn a_call_is_counted_by_its_path_when_it_begins() {
        let metrics = Metrics::new();
        for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.Watch/Watch", "/etcdserverpb.KV/Put"] {
            metrics.begun(path);
        }
        for other in ["/metrics", "", "/etcdserverpb.KV/Puts", "/ruvector.v1.Native/Exchange"] {
            metrics.begun(other);
        }
        let started = |method: Method| metrics.started[method as usize].get();
        assert_eq!((started(Method::Put), started(Method::Watch)), (2, 1));
        assert_eq!(metrics.started.iter().map(Counter::get).sum::<u64>(), 3);
    }

    /// What etcd's board takes for the streams that are open: those that began and did not end.
    #[tokio::test]
    async fn a_stream_is_counted_when_it_ends_and_by_how_it_ended() {
        let metrics = Metrics::new();
        let ended = |code: Code| metrics.counter(Method::Watch, code).get();
        let open = |items: Vec<Result<u32, Status>>| {
            let stream = Box::pin(futures::stream::iter(items)) as Stream<u32>;
            metrics.opened(Method::Watch, Ok(Response::new(stream))).unwrap().into_inner()
        };
        let mut whole = open(vec![Ok(1)]);
        assert!(whole.next().await.is_some() && ended(Code::Ok) == 0);
        assert!(whole.next().await.is_none());
        drop(whole);
        assert_eq!((ended(Code::Ok), ended(Code::Cancelled)), (1, 0));

        let mut failed = open(vec![Err(Status::unavailable("")), Ok(2)]);
        assert!(failed.next().await.is_some());
        drop(failed);
        assert_eq!((ended(Code::Unavailable), ended(Code::Cancelled)), (1, 0));

        drop(open(vec![Ok(1)]));
        assert_eq!(ended(Code::Cancelled), 1);
        let refused: Result<Response<Stream<u32>>, _> =
            metrics.opened(Method::Watch, Err(Status::invalid_argument("")));
        assert!(refused.is_err() && ended(Code::InvalidArgument) == 1);
    }
}
