//! Starting, running and stopping the daemon.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ruvector_node::daemon::Budget;
use ruvector_node::state_machine::kv::KvMachine;
use ruvector_node::{Handle, METADATA, NewGroup, Node, NodeConfig};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::EnvFilter;

use crate::config::ServerConfig;
use crate::groups::Groups;
use crate::listener;
use crate::log_file::LogFile;
use crate::metrics::Metrics;
use crate::retention;
use crate::serve_error::ServeError;
use crate::service::context::Context;
use crate::service::counters::Counters;
use crate::service::renewals::Renewals;
use crate::service::watch::hub::WatchHub;

/// What those who look what is wrong may have the node hold, in bytes: many pages of metrics.
const LOOKS_BYTES: usize = 16 << 20;
/// How long a large read may hold up the end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Runs one node, in the foreground, until the process is told to stop (SIGINT or SIGTERM) or the node stops
/// by itself. Logs to standard error, or to the file that it is given. Blocks; must not be called on a thread of an async runtime.
///
/// # Errors
/// If the server does not start, or the node stops by itself.
pub fn serve(config: ServerConfig) -> Result<(), ServeError> {
    set_up_log(config.log_level.as_deref(), config.log_file.as_deref())?;
    raise_descriptor_limit();
    let waiting =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Threads)?;
    let server = Server::start(config)?;
    let ended = waiting.block_on(until_told_or_stopped(&server.handle()));
    server.stop();
    tracing::info!("stopped");
    ended
}

/// A running server; [`stop`](Self::stop) or dropping it ends it.
#[derive(Debug)]
pub struct Server {
    node: Option<Node<KvMachine>>,
    client_address: SocketAddr,
    stop: watch::Sender<()>,
    clients: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a node and listens for its clients. Returns when both listeners are bound and the node is
    /// recovered; there may be no leader yet.
    ///
    /// # Errors
    /// [`ServeError::Listen`], [`ServeError::Node`], [`ServeError::Threads`].
    pub fn start(config: ServerConfig) -> Result<Self, ServeError> {
        let clients = listener::bind("clients", &config.listen_client, config.insecure)?;
        let peers = listener::bind("peers", &config.listen_peer, config.insecure)?;
        let client_address = clients.local_addr().map_err(ServeError::Threads)?;
        let advertised = config.advertise_client.clone().unwrap_or_else(|| client_address.to_string());
        let peer_address = peers.local_addr().map_err(ServeError::Threads)?;
        let node = Node::start(node_config(&config, peers, advertised.clone()), |_| KvMachine::default())?;
        let handle = node.handle();
        tracing::info!(
            node = handle.node_name(),
            cluster = handle.cluster_name(),
            "listening for clients on {client_address} and for peers on {peer_address}"
        );
        let (stop, stopped) = watch::channel(());
        let clients = serve_clients(&config, node.groups().collect(), clients, advertised, stopped)?;
        Ok(Self { node: Some(node), client_address, stop, clients: Some(clients) })
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// The node.
    #[must_use]
    pub fn handle(&self) -> Handle<KvMachine> {
        self.node.as_ref().expect("the node is there until the server is dropped").handle()
    }

    /// Stops taking requests, then the node, and waits for both, as dropping it does.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(());
        if let Some(clients) = self.clients.take()
            && clients.join().is_err()
        {
            tracing::error!("the thread that serves clients had panicked");
        }
        if let Some(node) = self.node.take() {
            node.stop();
        }
    }
}

fn node_config(config: &ServerConfig, peer_listener: TcpListener, client_address: String) -> NodeConfig {
    let mut tuning = config.tuning.clone();
    tuning.command_bytes_max = config.limits.request_bytes;
    NodeConfig {
        cluster_name: config.cluster.clone(),
        node_name: config.id.clone(),
        initial_members: config.initial_nodes.clone(),
        groups: new_groups(&config.groups),
        data_directory: config.data_dir.clone(),
        peer_listener,
        client_address,
        tuning,
    }
}

fn new_groups(groups: &BTreeMap<String, Vec<String>>) -> Vec<NewGroup> {
    let group =
        |(name, members): (&String, &Vec<String>)| NewGroup { name: name.clone(), members: members.clone() };
    groups.iter().filter(|(name, _)| *name != METADATA).map(group).collect()
}

/// Starts the thread that serves clients. It has a runtime of its own: one thread costs the least for each
/// request, because a request then never changes threads.
fn serve_clients(
    config: &ServerConfig,
    handles: Vec<Handle<KvMachine>>,
    listener: TcpListener,
    client_address: String,
    stop: watch::Receiver<()>,
) -> Result<JoinHandle<()>, ServeError> {
    let runtime = runtime(config.client_threads).map_err(ServeError::Threads)?;
    listener.set_nonblocking(true).map_err(ServeError::Threads)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(ServeError::Threads)?
    };
    let mut metrics = Metrics::new();
    let any = handles.first().expect("every node is a member of the metadata group");
    any.server_side().register_metrics(&mut metrics.registry);
    runtime.spawn(any.server_side().carry_many());
    runtime.spawn(give_memory_back());
    let node = Shared {
        counters: metrics.service.clone(),
        budget: Budget::new(config.limits.held_bytes),
        client_address,
    };
    let contexts = handles.into_iter().map(|handle| context(config, handle, &node, &runtime));
    let groups = Arc::new(Groups::new(contexts, Arc::new(metrics)));
    let run = move || {
        runtime.block_on(listener::run(listener, groups, Budget::new(LOOKS_BYTES), stop));
        runtime.shutdown_timeout(SHUTDOWN);
    };
    std::thread::Builder::new().name("clients".to_owned()).spawn(run).map_err(ServeError::Threads)
}

/// What the groups of a node have in common.
struct Shared {
    counters: Counters,
    budget: Arc<Budget>,
    client_address: String,
}

/// What serves a group, with the tasks that go with it.
fn context(config: &ServerConfig, handle: Handle<KvMachine>, node: &Shared, runtime: &Runtime) -> Context {
    let watch_hub = Arc::new(WatchHub::new(config.limits.watches));
    let (renewals, renewing) = Renewals::new(handle.clone(), config.limits.pending_renewals);
    runtime.spawn(renewing);
    runtime.spawn(retention::keep(handle.clone(), config.retention));
    runtime.spawn(Arc::clone(&watch_hub).run(handle.clone()));
    Context {
        handle,
        limits: config.limits.clone(),
        counters: node.counters.clone(),
        budget: Arc::clone(&node.budget),
        watch_hub,
        renewals,
        client_address: node.client_address.clone(),
        election_timeout: Duration::from_millis(config.tuning.election_timeout_ms),
    }
}

/// How often an idle node comes to give memory back.
const GIVE_BACK_PERIOD: Duration = Duration::from_secs(1);
/// More than the allocator takes from what it has in small pieces.
const GIVE_BACK_BYTES: usize = 1 << 20;

/// Allocators give what was freed back to the system when it has rested for a while, but look for it only when they are used. So
/// that a node from which a load has gone, and which has nothing to do, uses its own.
async fn give_memory_back() {
    let mut period = tokio::time::interval(GIVE_BACK_PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(GIVE_BACK_BYTES)));
    }
}

/// How many large reads are done at a time, beside the threads that serve clients. More would take the processors from those.
const LARGE_READS_MAX: usize = 4;

fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.max_blocking_threads(LARGE_READS_MAX);
    builder.thread_name("clients").enable_all().build()
}

async fn until_told_or_stopped(handle: &Handle<KvMachine>) -> Result<(), ServeError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Threads)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Threads)?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("stopping: interrupted"),
        _ = terminate.recv() => tracing::info!("stopping: told to terminate"),
        reason = handle.stopped() => return reason.map_or(Ok(()), |reason| Err(ServeError::NodeStopped(reason))),
    }
    Ok(())
}

fn set_up_log(level: Option<&str>, file: Option<&Path>) -> Result<(), ServeError> {
    let filter = match level {
        Some(level) => EnvFilter::try_new(level),
        None => EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info")),
    };
    let filter = filter.map_err(|error| ServeError::LogLevel {
        level: level.unwrap_or_default().to_owned(),
        reason: error.to_string(),
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // Setting it up fails in a program that logs in its own way already.
    let _ = match file {
        Some(file) => {
            let opened = LogFile::open(file).map_err(|error| ServeError::LogFile {
                file: file.display().to_string(),
                reason: error.to_string(),
            })?;
            log.with_writer(Mutex::new(opened)).with_ansi(false).try_init()
        }
        None => log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).try_init(),
    };
    Ok(())
}

/// Lets the process have as many connections and files as the system permits: shells usually give 1024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
}
