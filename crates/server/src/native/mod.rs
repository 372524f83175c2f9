//! The native protocol: one stream for each client, many requests under way, answers gathered into frames.
//! docs/PROTOCOL.md describes it for those who speak it.
//!
//! A stream has two halves. [`intake`] reads frames, hands writes to the node in batches and has reads evaluated;
//! [`outlet`] gathers what is answered. Between them is the window: a frame is read only when there is room for what it
//! may take in memory, so a client that sends more, or does not read its answers, waits.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod intake;
mod outlet;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_server::Native;
use ruvector_node::state_machine::kv::SessionClient;
use ruvector_node::{Hold, Permit};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::context::Client;
use crate::etcd::leader;

/// How many bytes of requests may be under way on one stream, each counted with [`REQUEST_BYTES`] beside its own.
const WINDOW_BYTES: u32 = 8 << 20;
/// What a request takes in memory beside its bytes, until it is answered.
const REQUEST_BYTES: u32 = 1 << 10;
/// What a client is told: so many small requests fit into the window.
const REQUESTS_MAX: u32 = WINDOW_BYTES / REQUEST_BYTES / 2;
/// How many answers to reads may wait to be sent before no more are evaluated.
const READS_WAITING_MAX: usize = 64;

/// The native service.
pub(crate) struct NativeService(pub(crate) Client);

/// Why no more frames are read, if the client did not end the stream: told once, when all before is answered.
type Broken = Arc<Mutex<Option<Status>>>;

/// An answer that is not a command's.
#[derive(Debug)]
struct Ready {
    response: pb::NativeResponse,
    /// The room that the request's frame takes in the window.
    #[allow(dead_code)] // Let go when dropped.
    hold: Arc<Hold>,
    /// What the answer takes.
    #[allow(dead_code)] // Let go when dropped.
    answer: Option<Permit>,
}

#[tonic::async_trait]
impl Native for NativeService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<pb::ServerFrame, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::ClientFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        leader::require(request.metadata(), &self.0.handle)?;
        let (applied_sender, applied) = mpsc::unbounded_channel();
        let (ready_sender, ready) = mpsc::channel(READS_WAITING_MAX);
        let broken = Broken::default();
        let intake = intake::Intake::new(self.0.clone(), applied_sender, ready_sender, broken.clone());
        tokio::spawn(intake.run(request.into_inner()));
        let outlet = outlet::Outlet::new(Arc::clone(&self.0.context), applied, ready, broken);
        Ok(Response::new(Box::pin(outlet)))
    }
}

/// Whom sessions opened from an address are counted for: a host, as far as it can be told from others. Of an IPv6 address that is the
/// network, of 64 bits, within which one host can have any number of addresses.
fn client_at(address: IpAddr) -> SessionClient {
    match address.to_canonical() {
        IpAddr::V4(address) => SessionClient(address.to_ipv6_mapped().to_bits()),
        IpAddr::V6(address) => SessionClient(address.to_bits() >> 64 << 64),
    }
}

/// The answer that a request was refused.
fn failure(number: u64, status: &Status) -> pb::NativeResponse {
    let failure = pb::NativeFailure { code: status.code().into(), message: status.message().to_owned() };
    pb::NativeResponse {
        number,
        revision: 0,
        response: Some(pb::native_response::Response::Failure(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_client_by_all_its_addresses_of_a_network() {
        let client = |address: &str| client_at(address.parse().expect("it is an address"));
        assert_eq!(client("10.1.2.3"), client("::ffff:10.1.2.3"));
        assert_ne!(client("10.1.2.3"), client("10.1.2.4"));
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("127.0.0.1"), SessionClient::default());
    }
}
