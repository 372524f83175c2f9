//! One client with many requests under way, by this project's native protocol; on etcd as many clients, each with one.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use rand::rngs::StdRng;
use ruvector_client::{Client, ClientOptions, GetOptions, KeyRange, PutOptions};

use super::key_value::{KeyValueWorker, Operation};
use super::{Load, Settings, random_key, worker_random};
use crate::drive::{Worker, drive};
use crate::recording::Outcome;
use crate::session::{Consistency, key};
use crate::system::{Cluster, System};

/// Requests under way at a time.
const UNDER_WAY: usize = 256;

/// A load of one client that does not wait for one answer before it asks for the next.
#[derive(Debug)]
pub(super) struct Native {
    name: &'static str,
    operation: Operation,
}

impl Native {
    pub(super) fn put() -> Self {
        Self { name: "native-put", operation: Operation::Put }
    }

    pub(super) fn get() -> Self {
        Self { name: "native-get", operation: Operation::Get(Consistency::Linearizable) }
    }
}

impl Load for Native {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> String {
        let operation = if self.operation == Operation::Put { "put" } else { "linearizable get" };
        format!("{operation}, one client with {UNDER_WAY} under way (etcd: {UNDER_WAY} clients)")
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
                let workers = KeyValueWorker::many(self.operation, UNDER_WAY, cluster, settings).await?;
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
        Ok((0..UNDER_WAY).map(worker).collect())
    }
}

#[derive(Debug)]
struct NativeWorker {
    client: Client,
    operation: Operation,
    keys: u64,
    value: Bytes,
    random: StdRng,
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
