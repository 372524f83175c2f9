//! Puts and gets, in several numbers of clients, sizes and mixtures.

use anyhow::Result;
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::cluster::Cluster;
use crate::drive::{Worker, drive};
use crate::load::{Load, Settings, random_key, worker_random};
use crate::recording::Outcome;
use crate::session::{Consistency, Session};
use crate::system::System;

/// Keys in a range read.
const RANGE_KEYS: u64 = 100;
const LARGE_VALUE_BYTES: usize = 64 << 10;
/// Large values have keys of their own, so that no other load reads them.
const LARGE_FIRST_KEY: u64 = 1_000_000_000;
const LARGE_KEYS: u64 = 1_000;
/// Of ten operations of a mixture, those that write.
const WRITES_OF_TEN: u32 = 1;

/// The loads of small values.
pub(super) fn loads() -> Vec<Box<dyn Load>> {
    vec![
        Box::new(KeyValue::new("put", Clients::AsSet, Operation::Put)),
        Box::new(KeyValue::new("put-1", Clients::Fixed(1), Operation::Put)),
        Box::new(KeyValue::new("put-256", Clients::Fixed(256), Operation::Put)),
        Box::new(KeyValue::new("put-1000", Clients::Fixed(1000), Operation::Put)),
        Box::new(KeyValue::new("get", Clients::AsSet, Operation::Get(Consistency::Linearizable))),
        Box::new(KeyValue::new("get-serializable", Clients::AsSet, Operation::Get(Consistency::Local))),
        Box::new(KeyValue::new("mixed", Clients::AsSet, Operation::Mixed)),
        Box::new(KeyValue::new("range-100", Clients::AsSet, Operation::Range)),
    ]
}

/// The load of large values.
pub(super) fn large() -> KeyValue {
    KeyValue::new("put-64k", Clients::AsSet, Operation::PutLarge)
}

/// A load of single operations on keys and values.
#[derive(Debug)]
pub(super) struct KeyValue {
    name: &'static str,
    clients: Clients,
    operation: Operation,
}

#[derive(Clone, Copy, Debug)]
enum Clients {
    AsSet,
    Fixed(usize),
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Put,
    PutLarge,
    Get(Consistency),
    /// Linearizable gets and some puts.
    Mixed,
    Range,
}

impl KeyValue {
    fn new(name: &'static str, clients: Clients, operation: Operation) -> Self {
        Self { name, clients, operation }
    }
}

impl Load for KeyValue {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> String {
        let operation = match self.operation {
            Operation::Put => "put".to_owned(),
            Operation::PutLarge => format!("put of {} KiB", LARGE_VALUE_BYTES >> 10),
            Operation::Get(Consistency::Linearizable) => "linearizable get".to_owned(),
            Operation::Get(Consistency::Local) => "serializable get (ZooKeeper: getData)".to_owned(),
            Operation::Mixed => "9 linearizable gets to 1 put".to_owned(),
            Operation::Range => format!("linearizable range of {RANGE_KEYS} keys"),
        };
        match self.clients {
            Clients::AsSet => operation,
            Clients::Fixed(1) => format!("{operation}, one client"),
            Clients::Fixed(count) => format!("{operation}, {count} clients"),
        }
    }

    fn runs_on(&self, system: System) -> bool {
        match self.operation {
            Operation::Put | Operation::Get(Consistency::Local) => true,
            Operation::PutLarge
            | Operation::Get(Consistency::Linearizable)
            | Operation::Mixed
            | Operation::Range => system != System::ZooKeeper,
        }
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        let clients = match self.clients {
            Clients::AsSet => settings.clients,
            Clients::Fixed(count) => count,
        };
        let blind = matches!(self.operation, Operation::Put | Operation::PutLarge);
        async move {
            // ZooKeeper only writes nodes that exist.
            if !blind || cluster.system == System::ZooKeeper {
                cluster.fill(settings.keys, settings.value_bytes).await?;
            }
            if !blind {
                cluster.digest().await?;
            }
            let workers = KeyValueWorker::many(self.operation, clients, cluster, settings).await?;
            let recording = drive(workers, settings.pace, settings.span, &cluster.processes()).await?;
            Ok(recording.outcome())
        }
        .boxed_local()
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct KeyValueWorker {
    session: Session,
    operation: Operation,
    keys: u64,
    value: Bytes,
    random: SmallRng,
}

impl KeyValueWorker {
    /// Clients that share the connections.
    pub(super) async fn many(
        operation: Operation,
        clients: usize,
        cluster: &Cluster,
        settings: &Settings,
    ) -> Result<Vec<Self>> {
        let sessions = cluster.sessions(settings.connections.min(clients)).await?;
        Ok(Self::with(&sessions, operation, clients, settings))
    }

    /// Clients that share these connections.
    pub(super) fn with(
        sessions: &[Session],
        operation: Operation,
        clients: usize,
        settings: &Settings,
    ) -> Vec<Self> {
        let bytes = if operation == Operation::PutLarge { LARGE_VALUE_BYTES } else { settings.value_bytes };
        let value = Bytes::from(vec![b'v'; bytes]);
        let worker = |number: usize| Self {
            session: sessions[number % sessions.len()].clone(),
            operation,
            keys: settings.keys,
            value: value.clone(),
            random: worker_random(number),
        };
        (0..clients).map(worker).collect()
    }

    async fn put(&mut self, key: u64) -> Result<()> {
        self.session.put(key, self.value.clone()).await
    }
}

impl Worker for KeyValueWorker {
    async fn perform(&mut self) -> Result<()> {
        match self.operation {
            Operation::Put => {
                let key = random_key(&mut self.random, self.keys);
                self.put(key).await
            }
            Operation::PutLarge => {
                let key = LARGE_FIRST_KEY + random_key(&mut self.random, LARGE_KEYS);
                self.put(key).await
            }
            Operation::Get(consistency) => {
                let key = random_key(&mut self.random, self.keys);
                self.session.get(key, consistency).await.map(drop)
            }
            Operation::Mixed => {
                let key = random_key(&mut self.random, self.keys);
                if self.random.random_ratio(WRITES_OF_TEN, 10) {
                    return self.put(key).await;
                }
                self.session.get(key, Consistency::Linearizable).await.map(drop)
            }
            Operation::Range => {
                let first = random_key(&mut self.random, self.keys.saturating_sub(RANGE_KEYS));
                self.session.range(first..first + RANGE_KEYS.min(self.keys)).await
            }
        }
    }
}
