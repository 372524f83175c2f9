//! Steps about leases, some of which are several requests.

use std::time::Instant;

use anyhow::{Result, ensure};
use ruvector_api::etcdserverpb as pb;
use tokio_stream::iter;

use super::{ANSWER_LIMIT, LOOK_INTERVAL, Node, Player};
use crate::fields::Fields;
use crate::program::{Expiry, Renewals};

impl Player {
    /// Makes a lease; if the system chose its id, that is noted.
    pub(super) async fn grant(&mut self, node: u32, request: pb::LeaseGrantRequest) -> Result<Fields> {
        let asked = request.id;
        let answer = self.node(node).lease.lease_grant(request).await;
        if let Ok(answer) = &answer
            && asked == 0
        {
            self.symbols.chosen.push(answer.get_ref().id);
        }
        self.heard(answer)
    }

    /// Makes a lease, asks for its time and ends it.
    pub(super) async fn grant_and_revoke(
        &mut self,
        node: u32,
        request: pb::LeaseGrantRequest,
    ) -> Result<Fields> {
        let Node { mut lease, .. } = self.node(node);
        let answer = lease.lease_grant(request).await;
        let granted = answer.as_ref().ok().map(|answer| answer.get_ref().id);
        if let Some(id) = granted {
            // It may have ended by itself already.
            let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        }
        let mut fields = self.heard(answer)?;
        if request.id == 0 {
            // Nobody can ask for it again.
            fields.0.retain(|(way, _)| way != "id");
        }
        Ok(fields)
    }

    /// Renews leases on one stream, and closes it.
    pub(super) async fn keep_alive(&mut self, node: u32, renewals: &Renewals) -> Result<Fields> {
        let mut fields = Fields::default();
        let ids: Vec<i64> = renewals.ids.iter().map(|id| self.symbols.lease(*id)).collect();
        let requests: Vec<_> = ids.into_iter().map(|id| pb::LeaseKeepAliveRequest { id }).collect();
        let mut answers = match self.node(node).lease.lease_keep_alive(iter(requests)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return self.heard::<pb::LeaseKeepAliveResponse>(Err(status)),
        };
        for number in 0.. {
            let answer = match answers.message().await {
                Ok(None) => break,
                Ok(Some(answer)) => self.heard(Ok(tonic::Response::new(answer)))?,
                Err(status) => {
                    fields.add("end", self.heard::<pb::LeaseKeepAliveResponse>(Err(status))?);
                    break;
                }
            };
            fields.add(&format!("renewal {number}"), answer);
        }
        Ok(fields)
    }

    /// Makes a lease that ends soon, attaches keys and waits for its end.
    pub(super) async fn expire(&mut self, node: u32, expiry: &Expiry) -> Result<Fields> {
        let Node { mut kv, mut lease, .. } = self.node(node);
        let id = expiry.id;
        let mut fields = Fields::default();
        let granted = lease.lease_grant(pb::LeaseGrantRequest { ttl: 1, id }).await;
        let refused = granted.is_err();
        fields.add("grant", self.heard(granted)?);
        if refused {
            return Ok(fields);
        }
        for key in &expiry.keys {
            let put = pb::PutRequest { key: key.clone(), lease: id, ..Default::default() };
            fields.add("put", self.heard(kv.put(put).await)?);
        }
        let limit = Instant::now() + ANSWER_LIMIT;
        loop {
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            let answer = lease.lease_time_to_live(request).await?;
            // The granted time goes when the lease itself does: a time left below zero may come before.
            if answer.get_ref().granted_ttl == 0 {
                fields.add("end", self.heard(Ok(answer))?);
                return Ok(fields);
            }
            ensure!(Instant::now() < limit, "a lease of one second does not end");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Ends all leases.
    pub(super) async fn end_leases(&mut self) -> Result<()> {
        // A node lists the leases that it knows of.
        self.catch_up(0).await?;
        let Node { lease, .. } = &mut self.nodes[0];
        let leases = lease.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner().leases;
        for pb::LeaseStatus { id } in leases {
            // It may end by itself meanwhile.
            let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        }
        Ok(())
    }
}
