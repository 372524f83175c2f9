//! One client with many requests under way, by this project's native protocol; on etcd as many clients, each with one.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use rand::rngs::SmallRng;
use ruvector_client::{Client, ClientOptions, GetOptions, KeyRange, PutOptions};

use super::key_value::{KeyValueWorker, Operation};
use crate::cluster::Cluster;
use crate::drive::{Worker, drive};
use crate::load::{Load, Settings, random_key, worker_random};
use crate::recording::Outcome;
use crate::session::{Consistency, key};
use crate::system::System;

/// A load of one client that does not wait for one answer before it asks for the next.
#[derive(Debug)]
pub(super) struct Native {
    name: &'static str,
    operation: Operation,
    /// Requests at a time.
    under_way: usize,
}

/// As many as a busy program has, and more than a round of syncs is long.
const SHALLOW: usize = 256;
/// As many as keep a node busy while syncs are under way.
const DEEP: usize = 1024;

/// Puts and gets, each of few and of many requests at a time.
pub(super) fn loads() -> Vec<Box<dyn Load>> {
    let get = Operation::Get(Consistency::Linearizable);
    let loads = [
        Native { name: "native-put", operation: Operation::Put, under_way: SHALLOW },
        Native { name: "native-put-1024", operation: Operation::Put, under_way: DEEP },
        Native { name: "native-get", operation: get, under_way: SHALLOW },
        Native { name: "native-get-1024", operation: get, under_way: DEEP },
    ];
    loads.into_iter().map(|load| Box::new(load) as Box<dyn Load>).collect()
}

impl Load for Native {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> String {
        let operation = if self.operation == Operation::Put { "put" } else { "linearizable get" };
        let under_way = self.under_way;
        format!("{operation}, one client with {under_way} under way (etcd: {under_way} clients)")
    }

    fn runs_on(&self, system: System) -> bool {
        matches!(system, System::Ruvector | System::Etcd)
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            if self.operation != Operation::Put {
                cluster.fill(settings.keys, settings.value_bytes).await?;
                cluster.digest().await?;
            }
            let (pace, span, processes) = (settings.pace, settings.span, cluster.processes());
            let recording = if cluster.system == System::Ruvector {
                drive(self.workers(cluster, settings)?, pace, span, &processes).await?
            } else {
                let workers = KeyValueWorker::many(self.operation, self.under_way, cluster, settings).await?;
                drive(workers, pace, span, &processes).await?
            };
            Ok(recording.outcome())
        }
        .boxed_local()
    }
}

impl Native {
    /// What keeps one request each under way, all by the same client.
    fn workers(&self, cluster: &Cluster, settings: &Settings) -> Result<Vec<NativeWorker>> {
        let client = Client::new(cluster.addresses().iter().map(String::as_str), ClientOptions::default())?;
        let value = Bytes::from(vec![b'v'; settings.value_bytes]);
        let worker = |number| NativeWorker {
            client: client.clone(),
            operation: self.operation,
            keys: settings.keys,
            value: value.clone(),
            random: worker_random(number),
        };
        Ok((0..self.under_way).map(worker).collect())
    }
}

#[derive(Debug)]
struct NativeWorker {
    client: Client,
    operation: Operation,
    keys: u64,
    value: Bytes,
    random: SmallRng,
}

impl Worker for NativeWorker {
    async fn perform(&mut self) -> Result<()> {
        let key = key(random_key(&mut self.random, self.keys));
        if self.operation == Operation::Put {
            self.client.put(key, self.value.clone(), PutOptions::default()).await?;
            return Ok(());
        }
        let found = self.client.get(KeyRange::One(key), GetOptions::default()).await?;
        let found = found.key_values.first().context("the key is not there")?;
        ensure!(!found.value.is_empty(), "the key is empty");
        Ok(())
    }
}
