//! Compare-and-swap by transactions, each client on a key of its own.

use crate::cluster::Cluster;
use crate::load::{Load, Settings};
use crate::system::System;
use crate::wire::Wire;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use ruvector_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::{Compare, PutRequest, RequestOp, TxnRequest};

use crate::drive::{Worker, drive};
use crate::recording::Outcome;
use crate::session::key;

/// The keys lie beyond those of other loads.
const FIRST_KEY: u64 = 2_000_000_000;

/// Every operation compares the key's revision and writes the key.
#[derive(Debug)]
pub(super) struct Transaction;

impl Load for Transaction {
    fn name(&self) -> &'static str {
        "txn"
    }

    fn description(&self) -> String {
        "compare-and-swap transaction on the client's own key".to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system != System::ZooKeeper
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            let wires = cluster.wires(settings.connections).await?;
            let mut workers = Vec::new();
            for number in 0..settings.clients {
                let client = KvClient::new(wires[number % wires.len()].clone());
                let key = key(FIRST_KEY + u64::try_from(number)?);
                workers.push(Swapper::new(client, key, settings.value_bytes).await?);
            }
            let recording = drive(workers, settings.pace, settings.span, &cluster.processes()).await?;
            Ok(recording.outcome())
        }
        .boxed_local()
    }
}

struct Swapper {
    client: KvClient<Wire>,
    key: Bytes,
    value: Bytes,
    /// Of its last write.
    revision: i64,
}

impl Swapper {
    async fn new(mut client: KvClient<Wire>, key: Bytes, value_bytes: usize) -> Result<Self> {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
        let header = client.put(put).await?.into_inner().header.context("an answer without a header")?;
        Ok(Self { client, key, value, revision: header.revision })
    }

    fn request(&self) -> TxnRequest {
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::ModRevision(self.revision)),
        };
        let put = PutRequest { key: self.key.clone(), value: self.value.clone(), ..PutRequest::default() };
        let success = vec![RequestOp { request: Some(Request::RequestPut(put)) }];
        TxnRequest { compare: vec![compare], success, failure: Vec::new() }
    }
}

impl Worker for Swapper {
    async fn perform(&mut self) -> Result<()> {
        let answer = self.client.txn(self.request()).await?.into_inner();
        ensure!(answer.succeeded, "the comparison failed, although nobody else writes the key");
        self.revision = answer.header.context("an answer without a header")?.revision;
        Ok(())
    }
}
