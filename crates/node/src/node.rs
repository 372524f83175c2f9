//! Starting and stopping a node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ruvector_state_machine::StateMachine;
use ruvector_storage::{DirectoryLock, Disk, Identity, RealDisk};
use ruvector_transport::{Transport, TransportConfig};

use crate::answer::Courier;
use crate::config::NodeConfig;
use crate::driver::{Driver, Request};
use crate::flusher::Flusher;
use crate::handle::Handle;
use crate::mailbox::Mailbox;
use crate::publication::Published;
use crate::replica::{Replica, ReplicaConfig, ReplicaError};
use crate::shared::Shared;
use crate::{clock, identity};

/// How many requests may wait for the driver. When it is full clients are refused.
const REQUESTS_MAX: usize = 16_384;
/// How many bytes may wait to be sent to one peer.
const PEER_QUEUE_BYTES_MAX: usize = 64 << 20;

/// A running node.
#[derive(Debug)]
pub struct Node<M: StateMachine> {
    handle: Handle<M>,
    requests: Mailbox<M>,
    driver: Option<JoinHandle<()>>,
    /// Held until the driver has ended.
    _lock: DirectoryLock,
}

impl<M: StateMachine> Node<M> {
    /// Starts a node on a new or used data directory. The machine must be empty.
    ///
    /// # Errors
    /// If the directory is locked, damaged or another node's, or the configuration contradicts it.
    pub fn start(config: NodeConfig, machine: M) -> Result<Self, ReplicaError> {
        let lock = DirectoryLock::acquire(&config.data_directory)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(config.data_directory.clone()));
        let identity = identity::begin_incarnation(&config, disk.as_ref())?;
        let replica = Replica::open(replica_config(&config, &identity), disk, machine, clock::now())?;
        let published = Published { view: replica.view(), applied: replica.applied() };
        let shared = Arc::new(Shared::new(
            identity.clone(),
            published,
            &config.client_address,
            config.tuning.command_bytes_max,
        ));
        let inline_sync_max = Duration::from_micros(config.tuning.inline_sync_max_us);
        let transport = start_transport(config, &identity)?;
        let (requests, receiver) = Mailbox::new(REQUESTS_MAX, transport.bell());
        let tell = {
            let requests = requests.clone();
            move |outcome| requests.send(Request::Flushed(outcome))
        };
        let flusher = Flusher::start(inline_sync_max, shared.metrics.log_sync_seconds.clone(), tell)
            .map_err(|source| thread_error("the log", source))?;
        let courier = Arc::<Courier<M>>::default();
        let driver = Driver::new(
            replica,
            receiver,
            requests.clone(),
            transport,
            flusher,
            Arc::clone(&shared),
            Arc::clone(&courier),
        );
        let driver = spawn(driver, Arc::clone(&shared))?;
        let handle = Handle::new(shared, requests.clone(), courier);
        Ok(Self { handle, requests, driver: Some(driver), _lock: lock })
    }

    /// What to propose and read with.
    #[must_use]
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Stops the node and waits for its threads, as dropping it does.
    pub fn stop(self) {
        drop(self);
    }
}

impl<M: StateMachine> Drop for Node<M> {
    fn drop(&mut self) {
        // A driver that has ended takes no request, which is fine.
        self.requests.send(Request::Stop);
        if let Some(driver) = self.driver.take() {
            drop(driver.join());
        }
    }
}

fn replica_config(config: &NodeConfig, identity: &Identity) -> ReplicaConfig {
    ReplicaConfig {
        cluster_id: identity.cluster_id,
        node: identity.node_id,
        incarnation: identity.incarnation,
        membership: identity::membership(identity),
        tuning: config.tuning.clone(),
        seed: identity.node_id.0 ^ identity.incarnation.0.rotate_left(32),
        #[cfg(feature = "planted-bugs")]
        planted_bug: None,
    }
}

fn start_transport(config: NodeConfig, identity: &Identity) -> Result<Transport, ReplicaError> {
    let peers = identity
        .members
        .iter()
        .filter(|member| member.id != identity.node_id)
        .map(|member| (member.id, member.peer_address.clone()))
        .collect();
    let config = TransportConfig {
        cluster_id: identity.cluster_id,
        node: identity.node_id,
        client_address: config.client_address,
        listener: config.peer_listener,
        peers,
        queue_bytes_max: PEER_QUEUE_BYTES_MAX,
    };
    Transport::start(config).map_err(|source| thread_error("transport", source))
}

fn spawn<M: StateMachine>(
    driver: Driver<M>,
    shared: Arc<Shared<M::View>>,
) -> Result<JoinHandle<()>, ReplicaError> {
    let run = move || {
        let reason = match catch_unwind(AssertUnwindSafe(|| driver.run())) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!(
                "an invariant was broken ({}); this is a bug: keep the data directory and the log for a report",
                panic_text(panic.as_ref())
            )),
        };
        if let Some(reason) = &reason {
            tracing::error!("the node stops: {reason}");
        }
        shared.set_stopped(reason);
    };
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(run)
        .map_err(|source| thread_error("driver", source))
}

fn thread_error(what: &str, source: std::io::Error) -> ReplicaError {
    ReplicaError::Storage(ruvector_storage::StorageError::Io {
        action: "starting threads for",
        file: what.to_owned(),
        source,
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
