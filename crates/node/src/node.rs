//! Starting and stopping a node.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ruvector_protocol::{GroupId, Membership};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{DirectoryLock, Disk, Identity, RealDisk};
use ruvector_transport::{Transport, TransportConfig};

use crate::answer::Courier;
use crate::config::{METADATA, NodeConfig};
use crate::driver::{Driver, Parts};
use crate::flusher::Flusher;
use crate::handle::Handle;
use crate::host::{Host, HostConfig};
use crate::mailbox::Mailbox;
use crate::publication::Published;
use crate::replica::ReplicaError;
use crate::request::Request;
use crate::shared::{GroupShared, NodeShared};
use crate::{clock, identity};

/// How many requests may wait for the driver. When it is full clients are refused.
const REQUESTS_MAX: usize = 16_384;
/// How many bytes may wait to be sent to one peer.
const PEER_QUEUE_BYTES_MAX: usize = 64 << 20;

/// A running node.
#[derive(Debug)]
pub struct Node<M: StateMachine> {
    /// By the group's name.
    handles: BTreeMap<String, Handle<M>>,
    requests: Mailbox<M>,
    driver: Option<JoinHandle<()>>,
    /// Held until the driver has ended.
    _lock: DirectoryLock,
}

impl<M: StateMachine> Node<M> {
    /// Starts a node on a new or used data directory. `machine` makes an empty machine for the group of a name.
    ///
    /// # Errors
    /// If the directory is locked, damaged or another node's, or the configuration contradicts it.
    pub fn start(config: NodeConfig, mut machine: impl FnMut(&str) -> M) -> Result<Self, ReplicaError> {
        let lock = DirectoryLock::acquire(&config.data_directory)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(config.data_directory.clone()));
        let identity = identity::begin_incarnation(&config, disk.as_ref())?;
        let own_groups = identity::own_groups(&identity);
        let machine_of = |group| own_groups.get(&group).map_or(METADATA, |(name, _)| name);
        let host = Host::open(
            host_config(&config, &identity, &own_groups),
            disk,
            |group| machine(machine_of(group)),
            clock::now(),
        )?;
        let shared = Arc::new(NodeShared::new(identity.clone(), &config.client_address));
        let groups: BTreeMap<_, _> = own_groups
            .iter()
            .filter_map(|(&group, (name, _))| {
                let replica = host.replica(group)?;
                let published = Published { view: replica.view(), applied: replica.applied() };
                let (node, bytes_max) = (Arc::clone(&shared), config.tuning.command_bytes_max);
                Some((group, Arc::new(GroupShared::new(node, group, name.clone(), published, bytes_max))))
            })
            .collect();
        let inline_sync_max = Duration::from_micros(config.tuning.inline_sync_max_us);
        let apply_longest = Duration::from_micros(config.tuning.apply_turn_us());
        let transport = start_transport(config, &identity)?;
        let (requests, receiver) = Mailbox::new(REQUESTS_MAX, transport.bell());
        let tell = {
            let requests = requests.clone();
            move |outcome| requests.send(Request::Flushed(outcome))
        };
        let flusher = Flusher::start(inline_sync_max, shared.metrics.log_sync_seconds.clone(), tell)
            .map_err(|source| thread_error("the log", source))?;
        let courier = Arc::<Courier<M>>::default();
        let handles = groups
            .values()
            .map(|group| {
                let handle = Handle::new(Arc::clone(group), requests.clone(), Arc::clone(&courier));
                (group.name.clone(), handle)
            })
            .collect();
        let driver = Driver::new(Parts {
            host,
            requests: receiver,
            own_requests: requests.clone(),
            transport,
            flusher,
            apply_longest,
            node: Arc::clone(&shared),
            groups,
            courier,
        });
        let driver = spawn(driver, shared)?;
        Ok(Self { handles, requests, driver: Some(driver), _lock: lock })
    }

    /// What to propose and read with in the group that every cluster has.
    #[must_use]
    pub fn handle(&self) -> Handle<M> {
        self.group(METADATA).expect("every node is a member of it")
    }

    /// What to propose and read with in the group of a name, if this node is a member of it.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Handle<M>> {
        self.handles.get(name).cloned()
    }

    /// Of all groups that this node is a member of, by name.
    pub fn groups(&self) -> impl Iterator<Item = Handle<M>> {
        self.handles.values().cloned()
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

fn host_config(
    config: &NodeConfig,
    identity: &Identity,
    groups: &BTreeMap<GroupId, (String, Membership)>,
) -> HostConfig {
    HostConfig {
        cluster_id: identity.cluster_id,
        node: identity.node_id,
        incarnation: identity.incarnation,
        groups: groups.iter().map(|(group, (_, membership))| (*group, membership.clone())).collect(),
        tuning: config.tuning.clone(),
        seed: identity.node_id.0 ^ identity.incarnation.0.rotate_left(32),
        #[cfg(feature = "planted-bugs")]
        core_bug: None,
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
    shared: Arc<NodeShared>,
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
