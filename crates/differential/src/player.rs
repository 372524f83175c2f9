//! One system, as a client of it plays a program.

mod expectation;
mod lease;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use self::expectation::{EVERYTHING, Followed};
use self::stream::Stream;
use crate::fields::{Fields, Tell};
use crate::program::{Action, Saying, Step};
use crate::symbols::Symbols;

/// Far longer than any answer takes, on a busy machine too.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Programs begin above this revision: none of those that they name as numbers is there any more.
const BASE_MIN: i64 = 100;
/// How often is looked whether something has come about.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Changes an answer before it is compared, to see whether that is found.
pub type Distortion = fn(&Step, &mut Fields);

/// One system, as a client of it plays programs.
pub struct Player {
    nodes: Vec<Node>,
    symbols: Symbols,
    streams: BTreeMap<u32, Stream>,
    followed: Vec<Followed>,
    /// Whether a watch began in the past since that was last waited for.
    begins_in_past: bool,
    distortion: Option<Distortion>,
}

/// The services of one node.
#[derive(Clone)]
struct Node {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    watch: WatchClient<Channel>,
}

/// An answer that says at which revision it was given.
pub(crate) trait Headed: Tell {
    fn header(&self) -> Option<&pb::ResponseHeader>;
}

macro_rules! headed {
    ($($message:ident)*) => {
        $(impl Headed for pb::$message {
            fn header(&self) -> Option<&pb::ResponseHeader> {
                self.header.as_ref()
            }
        })*
    };
}

headed! {
    RangeResponse PutResponse DeleteRangeResponse TxnResponse CompactionResponse
    LeaseGrantResponse LeaseRevokeResponse LeaseKeepAliveResponse LeaseTimeToLiveResponse LeaseLeasesResponse
}

impl Player {
    /// A client of nodes that listen at these addresses, `host:port`.
    ///
    /// # Errors
    /// If one of them does not listen.
    pub async fn connect(addresses: &[String]) -> Result<Self> {
        let mut nodes = Vec::new();
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
            let channel = endpoint.connect().await.with_context(|| format!("nobody listens at {address}"))?;
            nodes.push(Node {
                kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
                lease: LeaseClient::new(channel.clone()),
                watch: WatchClient::new(channel).max_decoding_message_size(usize::MAX),
            });
        }
        Ok(Self {
            nodes,
            symbols: Symbols::default(),
            streams: BTreeMap::new(),
            followed: Vec::new(),
            begins_in_past: false,
            distortion: None,
        })
    }

    /// Has answers changed before they are compared.
    pub fn distort(&mut self, distortion: Option<Distortion>) {
        self.distortion = distortion;
    }

    /// Takes everything out that earlier programs have left, and begins to watch everything.
    ///
    /// # Errors
    /// If the system does not do what is asked.
    pub async fn begin(&mut self) -> Result<()> {
        self.streams.clear();
        self.followed.clear();
        self.symbols = Symbols::default();
        self.end_leases().await?;
        let Node { kv, .. } = &mut self.nodes[0];
        let all = || (EVERYTHING.into(), EVERYTHING.into());
        let (key, range_end) = all();
        kv.delete_range(pb::DeleteRangeRequest { key, range_end, prev_kv: false }).await?;
        // So that there are revisions before the first, all of them compacted, however new the system is.
        loop {
            let put = kv.put(pb::PutRequest { key: "begin".into(), ..Default::default() }).await?;
            if put.into_inner().header.is_some_and(|header| header.revision >= BASE_MIN) {
                break;
            }
        }
        let (key, range_end) = all();
        let deleted = kv.delete_range(pb::DeleteRangeRequest { key, range_end, prev_kv: false }).await?;
        let revision = deleted.into_inner().header.context("an answer without a header")?.revision;
        kv.compact(pb::CompactionRequest { revision, physical: true }).await?;
        self.symbols = Symbols { base: revision, now: revision, compacted: revision, chosen: Vec::new() };
        self.observe().await
    }

    /// Does a step and tells the answer's fields.
    ///
    /// # Errors
    /// If there is no answer that could be compared.
    pub async fn play(&mut self, step: &Step) -> Result<Fields> {
        let Some(action) = &step.action else { return Ok(Fields::default()) };
        if action.may_be_stale() {
            let stream =
                if let Action::Watch(saying) = action { self.streams.get(&saying.stream) } else { None };
            let node = stream.map(|stream| stream.node);
            self.catch_up(node.unwrap_or(step.node)).await?;
        }
        let played = tokio::time::timeout(ANSWER_LIMIT, self.act(step.node, action));
        let mut fields = played.await.with_context(|| format!("no answer within {ANSWER_LIMIT:?}"))??;
        if let Some(distortion) = self.distortion {
            distortion(step, &mut fields);
        }
        Ok(fields)
    }

    /// What a step says to this system, in one line.
    #[must_use]
    pub fn show(&self, step: &Step) -> String {
        let mut step = step.clone();
        let name = step.action.as_ref().map_or("nothing", Action::name);
        match &mut step.action {
            Some(Action::Range(request)) => self.symbols.resolve_range(request),
            Some(Action::Put(request)) => self.symbols.resolve_put(request),
            Some(Action::Txn(request)) => self.symbols.resolve_txn(request),
            Some(Action::Compact(request)) => request.revision = self.symbols.revision(request.revision),
            Some(Action::Revoke(request)) => request.id = self.symbols.lease(request.id),
            Some(Action::TimeToLive(request)) => request.id = self.symbols.lease(request.id),
            Some(Action::KeepAlive(renewals)) => {
                renewals.ids.iter_mut().for_each(|id| *id = self.symbols.lease(*id));
            }
            Some(Action::Watch(Saying { request: Some(request), .. })) => self.symbols.resolve_watch(request),
            Some(
                Action::Delete(_)
                | Action::Grant(_)
                | Action::Fleeting(_)
                | Action::Leases(_)
                | Action::Expire(_)
                | Action::Watch(Saying { request: None, .. }),
            )
            | None => {}
        }
        format!("{name} {}", Fields::of(&step, &self.symbols).to_line())
    }

    async fn act(&mut self, node: u32, action: &Action) -> Result<Fields> {
        let Node { mut kv, mut lease, .. } = self.node(node);
        match action.clone() {
            Action::Range(mut request) => {
                self.symbols.resolve_range(&mut request);
                self.heard(kv.range(request).await)
            }
            Action::Put(mut request) => {
                self.symbols.resolve_put(&mut request);
                self.heard(kv.put(request).await)
            }
            Action::Delete(request) => self.heard(kv.delete_range(request).await),
            Action::Txn(mut request) => {
                self.symbols.resolve_txn(&mut request);
                self.heard(kv.txn(request).await)
            }
            Action::Compact(mut request) => {
                request.revision = self.symbols.revision(request.revision);
                let compacted = request.revision;
                let answer = kv.compact(request).await;
                if answer.is_ok() {
                    self.symbols.compacted = compacted;
                }
                self.heard(answer)
            }
            Action::Grant(request) => self.grant(node, request).await,
            Action::Revoke(request) => {
                let id = self.symbols.lease(request.id);
                self.heard(lease.lease_revoke(pb::LeaseRevokeRequest { id }).await)
            }
            Action::KeepAlive(renewals) => self.keep_alive(node, &renewals).await,
            Action::TimeToLive(request) => {
                let id = self.symbols.lease(request.id);
                self.heard(lease.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, ..request }).await)
            }
            Action::Leases(request) => self.heard(lease.lease_leases(request).await),
            Action::Expire(expiry) => self.expire(node, &expiry).await,
            Action::Fleeting(request) => self.grant_and_revoke(node, request).await,
            Action::Watch(saying) => self.say(node, &saying).await,
        }
    }

    /// The fields of an answer, or of the error that came in its place.
    fn heard<M: Headed>(&mut self, answer: Result<Response<M>, Status>) -> Result<Fields> {
        match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                let revision = answer.header().map_or(0, |header| header.revision);
                self.symbols.see_revision(revision);
                Ok(Fields::of(&answer, &self.symbols))
            }
            Err(status) => {
                let lost =
                    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
                ensure!(!lost, "no answer: {status}");
                Ok(Fields::of(&status, &self.symbols))
            }
        }
    }

    /// Has a node catch up: a read that it must not answer from what it happens to know.
    pub(super) async fn catch_up(&self, node: u32) -> Result<()> {
        let request = pb::RangeRequest { key: "a".into(), count_only: true, ..Default::default() };
        self.node(node).kv.range(request).await?;
        Ok(())
    }

    fn node(&self, number: u32) -> Node {
        self.nodes[number as usize % self.nodes.len()].clone()
    }
}
