//! The table of verbs. Each file below does one family of them, and none knows this table.

mod init;
mod kv;
mod lifecycle;
mod log;
mod quorum;
mod read;
mod serve;
mod snapshot;
mod status;
mod txn;
mod watch;

use std::future::Future;

use clap::Subcommand;

use crate::failure::{Failure, Result};
use crate::options::Common;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a cluster on this machine and start it.
    Init(init::Init),
    /// Start the nodes of a cluster of this machine that do not run.
    Start(lifecycle::Start),
    /// Stop the nodes of a cluster of this machine; their data stays.
    Stop(lifecycle::Stop),
    /// Stop a cluster of this machine and remove its data.
    Destroy(lifecycle::Destroy),
    /// Run one node in the foreground.
    Serve(serve::Serve),
    /// Show how the nodes do.
    Status(status::Status),
    /// Show who leads.
    Leader(quorum::Leader),
    /// Check whether the cluster can decide anything; fails if it can't.
    Quorum(quorum::Quorum),
    /// Write a key.
    Put(kv::Put),
    /// Read keys.
    Get(kv::Get),
    /// Delete keys.
    Del(kv::Del),
    /// See keys change, as it happens.
    Watch(watch::Watch),
    /// Compare keys, and do one thing or another depending on it, in one step.
    Txn(txn::Txn),
    /// Read a key at a chosen level of freshness.
    Read(read::Read),
    /// Show the newest entries of the replicated log.
    Log(log::Log),
    /// Drop old entries of the replicated log.
    CompactLog(log::CompactLog),
    /// Take, list or restore snapshots.
    Snapshot(snapshot::Snapshot),
}

impl Verb {
    /// Does what was typed.
    pub(crate) fn run(self, common: Common) -> Result {
        let output = Output::new(common.json);
        match self {
            // It makes its own runtimes, and lasts.
            Verb::Serve(serve) => serve.run(common),
            Verb::Init(init) => wait(init.run(common, output)),
            Verb::Start(start) => wait(start.run(common, output)),
            Verb::Stop(stop) => wait(stop.run(common, output)),
            Verb::Destroy(destroy) => wait(destroy.run(common, output)),
            Verb::Status(status) => wait(status.run(common, output)),
            Verb::Leader(leader) => wait(leader.run(common, output)),
            Verb::Quorum(quorum) => wait(quorum.run(common, output)),
            Verb::Put(put) => wait(put.run(common, output)),
            Verb::Get(get) => wait(get.run(common, output)),
            Verb::Del(del) => wait(del.run(common, output)),
            Verb::Watch(watch) => wait(watch.run(common, output)),
            Verb::Txn(txn) => wait(txn.run(common, output)),
            Verb::Read(read) => wait(read.run(common, output)),
            Verb::Log(log) => wait(log.run(common, output)),
            Verb::CompactLog(compact) => wait(compact.run(common, output)),
            Verb::Snapshot(snapshot) => wait(snapshot.run(common, output)),
        }
    }
}

fn wait(verb: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("can't begin to wait for the network: {error}")))?;
    runtime.block_on(verb)
}
