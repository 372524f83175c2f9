//! What each verb does.

pub(crate) mod init;
pub(crate) mod kv;
pub(crate) mod lifecycle;
pub(crate) mod log;
pub(crate) mod quorum;
pub(crate) mod read;
pub(crate) mod serve;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod txn;
pub(crate) mod watch;

mod gather;
mod patience;
mod restore;
mod shapes;

use std::future::Future;

use crate::arguments::{Consensus, Verb};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Does what was typed.
pub(crate) fn run(consensus: Box<Consensus>) -> Result {
    let Consensus { common, verb } = *consensus;
    let output = Output::new(common.json);
    match verb {
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

fn wait(verb: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("can't begin to wait for the network: {error}")))?;
    runtime.block_on(verb)
}
