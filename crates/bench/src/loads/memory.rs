//! What many keys take, and many versions of few keys.

use anyhow::Result;
use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use tokio::time::sleep;

use super::key_value::{KeyValueWorker, Operation};
use crate::cluster::Cluster;
use crate::drive::Worker;
use crate::load::{Ground, Load, Settings};
use crate::recording::Outcome;
use crate::session::Consistency;
use crate::system::System;

/// Looks at the nodes when they hold many keys and nothing goes on. The resident memory is measured after every
/// load, so there is nothing to do but wait.
#[derive(Debug)]
pub(super) struct Memory;

impl Load for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn description(&self) -> String {
        "many keys, each written once, and then nothing".to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn ground(&self) -> Ground {
        Ground::Filled
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            sleep(settings.settle).await;
            // All of the keys are on every node.
            for node in 0..cluster.node_count() {
                let last = settings.many_keys.saturating_sub(1);
                cluster.session(node).await?.get(last, Consistency::Linearizable).await?;
            }
            Ok(Outcome { operations: settings.many_keys, ..Outcome::default() })
        }
        .boxed_local()
    }
}

/// Looks at the nodes after as many puts as every other system does: the rows after loads of a fixed time compare systems of
/// which one has done several times as much, and keeps the history of it.
#[derive(Debug)]
pub(super) struct AfterPuts;

/// Of [`Settings::many_keys`], the part that are puts here: they take longer than to fill a system.
const PUTS_OF_KEYS: u64 = 10;

impl Load for AfterPuts {
    fn name(&self) -> &'static str {
        "memory-puts"
    }

    fn description(&self) -> String {
        "a tenth as many puts as the memory load has keys, to the keys of other loads, and then nothing"
            .to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn ground(&self) -> Ground {
        Ground::Empty
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            let workers = KeyValueWorker::many(Operation::Put, settings.clients, cluster, settings).await?;
            let each = settings.many_keys / PUTS_OF_KEYS / u64::try_from(settings.clients)?;
            let puts = workers.into_iter().map(async |mut worker| {
                for _ in 0..each {
                    worker.perform().await?;
                }
                anyhow::Ok(each)
            });
            let operations = try_join_all(puts).await?.into_iter().sum();
            sleep(settings.settle).await;
            Ok(Outcome { operations, ..Outcome::default() })
        }
        .boxed_local()
    }
}
