//! What the server counts. Counters are made once and found by index, so that counting costs one addition.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::{Code, Status};

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
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_code: &'static str,
}

/// What the server counts.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    /// By method, then by code.
    handled: Vec<Counter>,
    /// Events told to watches.
    pub(crate) watch_events: Counter,
    /// Bytes from clients, of all protocols.
    pub(crate) received_bytes: Counter,
    /// Bytes to clients, of all protocols.
    pub(crate) sent_bytes: Counter,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections closed because there were too many.
    pub(crate) connections_refused: Counter,
    /// Commands that were not applied, or not for certain.
    pub(crate) proposals_failed: Counter,
}

impl Metrics {
    /// Registers everything. The library adds `_total` to the names of counters.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let calls = Family::<Call, Counter>::default();
        let handled = Method::ALL.iter().flat_map(|(_, service, method)| {
            CODES.iter().map(|code| Call { grpc_service: service, grpc_method: method, grpc_code: code })
        });
        let handled = handled.map(|call| calls.get_or_create_owned(&call)).collect();
        registry.register("grpc_server_handled", "Calls that ended, or streams that began, by code", calls);
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
            handled,
            watch_events,
            received_bytes,
            sent_bytes,
            connections,
            connections_refused,
            proposals_failed,
        }
    }

    /// Counts an answer and passes it on.
    pub(crate) fn handled<T>(&self, method: Method, answer: Result<T, Status>) -> Result<T, Status> {
        self.count(method, answer.as_ref().err().map_or(Code::Ok, Status::code));
        answer
    }

    /// Counts an answer.
    pub(crate) fn count(&self, method: Method, code: Code) {
        self.counter(method, code).inc();
    }

    fn counter(&self, method: Method, code: Code) -> &Counter {
        &self.handled[method as usize * CODES.len() + code as i32 as usize]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
                "grpc_server_handled_total{{grpc_service=\"etcdserverpb.{service}\",grpc_method=\"{method}\",grpc_code=\"{code}\"}} {count}\n"
            )
        };
        assert!(text.contains(&line("KV", "Put", "OK", 1)), "{text}");
        assert!(text.contains(&line("Maintenance", "Status", "Unauthenticated", 1)), "{text}");
        assert!(text.contains(&line("KV", "Range", "OK", 0)), "{text}");
    }
}
