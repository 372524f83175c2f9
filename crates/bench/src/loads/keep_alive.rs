//! Leases kept alive.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::load::{Load, Settings};
use crate::system::System;
use crate::wire::Wire;
use anyhow::{Context, Result, ensure};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::{StreamExt, TryStreamExt, stream};
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use ruvector_api::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::drive::{Worker, drive};
use crate::recording::Outcome;

/// No lease ends while it is measured.
const TIME_TO_LIVE: Duration = Duration::from_secs(3_600);
const GRANTS_AT_ONCE: usize = 64;

/// Each client has a stream and renews its share of the leases, one after the other.
#[derive(Debug)]
pub(super) struct KeepAlive;

impl Load for KeepAlive {
    fn name(&self) -> &'static str {
        "keep-alive"
    }

    fn description(&self) -> String {
        "renewal of one of many leases".to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            let wires = cluster.wires(settings.connections).await?;
            let leases = grant(&wires, settings.leases.max(u64::try_from(settings.clients)?)).await?;
            let mut workers = Vec::new();
            for number in 0..settings.clients {
                let own: Vec<i64> = leases.iter().skip(number).step_by(settings.clients).copied().collect();
                workers.push(Renewer::new(wires[number % wires.len()].clone(), own).await?);
            }
            let recording = drive(workers, settings.pace, settings.span, &cluster.processes()).await?;
            Ok(recording.outcome())
        }
        .boxed_local()
    }
}

async fn grant(wires: &[Wire], count: u64) -> Result<Vec<i64>> {
    let grants = (0..count).zip(wires.iter().cycle()).map(|(_, wire)| {
        let mut client = LeaseClient::new(wire.clone());
        let seconds = TIME_TO_LIVE.as_secs().cast_signed();
        async move {
            let lease = client.lease_grant(LeaseGrantRequest { ttl: seconds, id: 0 }).await?.into_inner();
            ensure!(lease.error.is_empty(), "no lease: {}", lease.error);
            Ok(lease.id)
        }
    });
    stream::iter(grants).buffer_unordered(GRANTS_AT_ONCE).try_collect().await
}

struct Renewer {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
    leases: Vec<i64>,
    next: usize,
}

impl Renewer {
    async fn new(wire: Wire, leases: Vec<i64>) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(1);
        // etcd opens its side of the stream with the first answer.
        requests.send(LeaseKeepAliveRequest { id: leases[0] }).await?;
        let answers = LeaseClient::new(wire).lease_keep_alive(ReceiverStream::new(outgoing)).await?;
        let mut renewer = Self { requests, answers: answers.into_inner(), leases, next: 0 };
        renewer.answer(renewer.leases[0]).await?;
        Ok(renewer)
    }

    async fn answer(&mut self, lease: i64) -> Result<()> {
        let answer = self.answers.message().await?.context("the server has ended the stream")?;
        ensure!(answer.id == lease, "an answer for lease {} where {lease} was renewed", answer.id);
        ensure!(answer.ttl > 0, "lease {lease} has ended");
        Ok(())
    }
}

impl Worker for Renewer {
    async fn perform(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.leases.len();
        let lease = self.leases[self.next];
        self.requests.send(LeaseKeepAliveRequest { id: lease }).await?;
        self.answer(lease).await
    }
}
