//! One node: its process, its disk, and what it says.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::disk::{Disk, DiskKind};
use crate::group;
use crate::network::{Network, Place};

const CLIENT_PORT: u16 = 7400;
const PEER_PORT: u16 = 7401;

/// A node's process and everything that is its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    place: Place,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Behind the process, so that it is unmounted after that has ended.
    pub(crate) disk: Disk,
}

impl Node {
    /// Makes the node's disk and configuration below a directory. It does not run yet.
    pub(crate) fn prepare(place: Place, program: &Path, directory: &Path, kind: DiskKind) -> Result<Self> {
        let own = directory.join(place.to_string());
        let disk = Disk::mount(&own, kind).with_context(|| format!("no disk for {place}"))?;
        let config = own.join("node.toml");
        fs::write(&config, configuration(place, &disk))?;
        let log = directory.join(format!("{place}.log"));
        Ok(Self { place, program: program.to_owned(), config, log, child: None, disk })
    }

    /// Where clients reach a node.
    pub(crate) fn client_endpoint(place: Place) -> String {
        format!("{}:{CLIENT_PORT}", place.address())
    }

    /// Starts the process, unless it runs. What it says is added to its log.
    pub(crate) fn start(&mut self, network: &Network) -> Result<()> {
        if self.runs()? {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = network.command_at(self.place, &self.program);
        command.args(["consensus", "serve", "--config"]).arg(&self.config).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(File::try_clone(&log)?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("can't start {}", self.place))?);
        Ok(())
    }

    /// Whether the process has not ended.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.ended()?.is_none())
    }

    /// How the process ended, if it has by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        child.try_wait().with_context(|| format!("can't ask for the end of {}", self.place))
    }

    /// Sends a signal to the process, if it has not ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.runs()? {
            return Ok(());
        }
        let id = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        let id = id.expect("a process that runs has an id above 0");
        kill_process(id, signal).with_context(|| format!("can't signal {}", self.place))
    }

    /// Waits for the end of a process that was killed, and forgets it.
    pub(crate) fn reap(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait().with_context(|| format!("can't wait for the end of {}", self.place))?;
        }
        Ok(())
    }

    /// The last line of what the node's processes said.
    pub(crate) fn last_words(&self) -> String {
        self.log().lines().next_back().unwrap_or("nothing").to_owned()
    }

    /// Everything that the node's processes said.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Small segments and frequent snapshots: a run of minutes sees as much of them as a day would. One node waits for its
/// syncs in the moments in which nobody reads, as on a quick disk, and the others run all beside, as on a slow one. All
/// history is kept, since all of it is read at the end.
fn configuration(place: Place, disk: &Disk) -> String {
    let peers: Vec<String> =
        Place::all().map(|place| format!("{place} = \"{}:{PEER_PORT}\"", place.address())).collect();
    let address = place.address();
    let inline_sync_max_us = if place.0 == 0 { u64::from(u32::MAX) } else { 0 };
    format!(
        "cluster = \"chaos\"\n\
         id = \"{place}\"\n\
         data_dir = {:?}\n\
         listen_client = \"{address}:{CLIENT_PORT}\"\n\
         listen_peer = \"{address}:{PEER_PORT}\"\n\
         insecure = true\n\
         [initial_nodes]\n\
         {}\n\
         [limits]\n\
         watch_progress_seconds = 1\n\
         [retention]\n\
         age_seconds = 0\n\
         bytes = 0\n\
         [tuning]\n\
         snapshot_entries = 2000\n\
         retained_entries = 200\n\
         segment_bytes = 262144\n\
         inline_sync_max_us = {inline_sync_max_us}\n\
         [groups]\n\
         {}\n",
        disk.data_directory(),
        peers.join("\n"),
        group::OTHERS.map(|group| format!("{} = []", group.name())).join("\n"),
    )
}
