//! Puts while many watch: every event must reach every watcher.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::load::{Load, Settings, random_key, worker_random};
use crate::system::System;
use crate::wire::Wire;
use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use futures::future::{FutureExt, LocalBoxFuture};
use rand::rngs::SmallRng;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::drive::{Worker, drive};
use crate::figure::Figure;
use crate::process::ProcessGroup;
use crate::recording::{Latencies, Outcome, as_float};
use crate::session::{KEY_PREFIX, Session, keys_end};

/// Clients that put. Fewer than in other loads: it is the watchers that make the work.
const WRITERS: usize = 16;
/// Events that come later than this after the last put are missing.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// Watchers of all keys, each on a stream of its own.
#[derive(Debug)]
pub(super) struct Watch {
    watchers: u64,
    name: &'static str,
}

impl Watch {
    pub(super) fn new(watchers: u64) -> Self {
        Self { watchers, name: if watchers <= 100 { "watch-100" } else { "watch-1000" } }
    }

    async fn run(&self, cluster: &Cluster, settings: &Settings) -> Result<Outcome> {
        let delivery = Arc::new(Delivery::new());
        let wires = cluster.wires(settings.connections).await?;
        let mut watchers = JoinSet::new();
        for wire in wires.iter().cycle().take(usize::try_from(self.watchers)?) {
            let events = open(wire.clone()).await?;
            watchers.spawn(receive(events, Arc::clone(&delivery)));
        }
        let sessions = cluster.sessions(settings.connections.min(WRITERS)).await?;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS).map(|number| Writer {
            session: sessions[number % sessions.len()].clone(),
            keys: settings.keys,
            value_bytes: settings.value_bytes,
            random: worker_random(number),
            delivery: Arc::clone(&delivery),
            acknowledged: Arc::clone(&acknowledged),
        });
        let nodes = cluster.processes();
        let mut recording = drive(writers.collect(), settings.pace, settings.span, &nodes).await?;

        // The puts count as done when all was delivered, so what comes after them belongs to their time.
        let generator = ProcessGroup::own();
        let (cpu_before, generator_cpu_before) = (nodes.cpu_time()?, generator.cpu_time()?);
        let waits_since = Instant::now();
        let expected = self.watchers * acknowledged.load(Ordering::Relaxed);
        while delivery.events() < expected && waits_since.elapsed() < DELIVERY_LIMIT {
            sleep(Duration::from_millis(1)).await;
        }
        recording.elapsed += waits_since.elapsed();
        recording.cpu += nodes.cpu_time()?.saturating_sub(cpu_before);
        recording.generator_cpu += generator.cpu_time()?.saturating_sub(generator_cpu_before);
        let missing = expected.saturating_sub(delivery.events());
        if missing > 0 {
            recording.failed(&anyhow::anyhow!("{missing} of {expected} events were not delivered"));
        }
        let mut outcome = recording.outcome();
        let puts = outcome.figures[&Figure::OperationsPerSecond];
        outcome.figures.insert(Figure::EventsPerSecond, puts * as_float(self.watchers));
        outcome.figures.insert(Figure::EventP99Ms, delivery.p99_ms());
        Ok(outcome)
    }
}

impl Load for Watch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> String {
        format!("put by {WRITERS} clients while {} watch all keys", self.watchers)
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        self.run(cluster, settings).boxed_local()
    }
}

/// What all watchers together have received.
struct Delivery {
    /// Puts carry the time since then.
    clock: Instant,
    received: Mutex<Received>,
}

struct Received {
    events: u64,
    delays: Latencies,
}

impl Delivery {
    fn new() -> Self {
        let received = Mutex::new(Received { events: 0, delays: Latencies::new() });
        Self { clock: Instant::now(), received }
    }

    fn note(&self, answer: &WatchResponse) -> Result<()> {
        let now = self.clock.elapsed();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &answer.events {
            let value = &event.kv.as_ref().context("an event without a key")?.value;
            let sent = value.first_chunk().context("an event with another's value")?;
            received.delays.record(now.saturating_sub(Duration::from_micros(u64::from_be_bytes(*sent))));
            received.events += 1;
        }
        Ok(())
    }

    fn events(&self) -> u64 {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).events
    }

    fn p99_ms(&self) -> f64 {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).delays.quantile_ms(0.99)
    }

    /// A value that carries the present time.
    fn value(&self, bytes: usize) -> Bytes {
        let micros = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut value = BytesMut::from(&micros.to_be_bytes()[..]);
        value.resize(bytes.max(value.len()), b'v');
        value.freeze()
    }
}

/// A stream with one watcher that is in force.
pub(super) struct Events {
    pub(super) answers: Streaming<WatchResponse>,
    /// The server would end the stream if the client ended its side.
    _requests: mpsc::Sender<WatchRequest>,
}

/// Watches all keys from now on.
pub(super) async fn open(wire: Wire) -> Result<Events> {
    let (requests, outgoing) = mpsc::channel(1);
    let create = WatchCreateRequest {
        key: Bytes::from_static(KEY_PREFIX.as_bytes()),
        range_end: keys_end(),
        ..WatchCreateRequest::default()
    };
    requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
    let mut client = WatchClient::new(wire).max_decoding_message_size(usize::MAX);
    let mut answers = client.watch(ReceiverStream::new(outgoing)).await?.into_inner();
    let created = answers.message().await?.context("the server has ended the stream")?;
    ensure!(created.created, "the watch was not created: {}", created.cancel_reason);
    Ok(Events { answers, _requests: requests })
}

async fn receive(mut events: Events, delivery: Arc<Delivery>) -> Result<()> {
    while let Some(answer) = events.answers.message().await? {
        ensure!(!answer.canceled, "the watch was cancelled: {}", answer.cancel_reason);
        delivery.note(&answer)?;
    }
    Ok(())
}

struct Writer {
    session: Session,
    keys: u64,
    value_bytes: usize,
    random: SmallRng,
    delivery: Arc<Delivery>,
    acknowledged: Arc<AtomicU64>,
}

impl Worker for Writer {
    async fn perform(&mut self) -> Result<()> {
        let key = random_key(&mut self.random, self.keys);
        self.session.put(key, self.delivery.value(self.value_bytes)).await?;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
