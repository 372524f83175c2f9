//! What many keys take.

use anyhow::Result;
use futures::future::{FutureExt, LocalBoxFuture};
use tokio::time::sleep;

use super::{Ground, Load, Settings};
use crate::recording::Outcome;
use crate::session::Consistency;
use crate::system::{Cluster, System};

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
