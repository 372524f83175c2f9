//! The systems' processes.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use tempfile::TempDir;

use crate::pair::Pair;
use crate::player::Player;

const NODES: u16 = 3;
/// Ports are below those that the system gives to outgoing connections.
const FIRST_PORT: u16 = 7_000;
const PORTS: u16 = 10;
const PLACES: u16 = 2_000;
/// Until all nodes take writes.
const READY_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Data lies in memory, if there is such a place: syncs would take most of the time and find nothing.
const MEMORY: &str = "/dev/shm";

/// The programs to compare.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `etcd`.
    pub etcd: PathBuf,
    /// `ruvector`.
    pub ours: PathBuf,
}

/// Both systems, running. Dropped, their processes are killed and their data removed.
pub struct Systems {
    /// Their clients.
    pub pair: Pair,
    processes: Vec<Process>,
    _directory: TempDir,
}

struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Systems {
    /// Starts both, with nothing in them.
    ///
    /// # Errors
    /// If a program is not there or does not get ready.
    pub async fn start(programs: &Programs) -> Result<Self> {
        let memory = Some(Path::new(MEMORY)).filter(|memory| memory.is_dir());
        let place = memory.map_or_else(std::env::temp_dir, Path::to_owned);
        let directory = tempfile::Builder::new().prefix("differential-").tempdir_in(place)?;
        let place = Place::unused();
        let mut processes = vec![start_etcd(&programs.etcd, place, directory.path())?];
        for number in 1..=NODES {
            processes.push(start_ours(&programs.ours, place, number, directory.path())?);
        }
        let etcd = vec![place.client(0)];
        let ours: Vec<String> = (1..=NODES).map(|number| place.client(number)).collect();
        let addresses = etcd.iter().chain(&ours);
        for address in addresses {
            await_ready(address, &mut processes).await?;
        }
        let pair = Pair { etcd: Player::connect(&etcd).await?, ours: Player::connect(&ours).await? };
        Ok(Self { pair, processes, _directory: directory })
    }

    /// The processes that have ended by themselves, with their last words.
    pub fn ended(&mut self) -> Vec<String> {
        self.processes.iter_mut().filter_map(Process::ended).collect()
    }
}

impl Process {
    fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("can't run {program}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().collect();
        let last = last[last.len().saturating_sub(20)..].join("\n");
        Some(format!("{} ended ({status}) and said last:\n{last}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where systems listen: on an address of this machine's own network that no other process like this one has, and on ports
/// that this one has not used for long.
#[derive(Clone, Copy, Debug)]
struct Place {
    host: Ipv4Addr,
    base_port: u16,
}

impl Place {
    fn unused() -> Self {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 64 | high & 63, middle, low);
        let base_port = FIRST_PORT + TAKEN.fetch_add(1, Ordering::Relaxed) % PLACES * PORTS;
        Self { host, base_port }
    }

    /// Where clients reach our node of this number, from 1 on, or etcd at 0.
    fn client(self, number: u16) -> String {
        format!("{}:{}", self.host, self.base_port + 2 * number)
    }

    /// The same for peers.
    fn peer(self, number: u16) -> String {
        format!("{}:{}", self.host, self.base_port + 2 * number + 1)
    }
}

/// With the same election timeout as ours, on which the shortest time to live of a lease depends.
fn start_etcd(program: &Path, place: Place, directory: &Path) -> Result<Process> {
    let client = format!("http://{}", place.client(0));
    let peer = format!("http://{}", place.peer(0));
    let mut command = Command::new(program);
    command
        .args(["--name", "etcd", "--initial-cluster", &format!("etcd={peer}")])
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
    Process::start("etcd", &mut command, directory)
}

fn start_ours(program: &Path, place: Place, number: u16, directory: &Path) -> Result<Process> {
    let name = format!("node-{number}");
    let peers: Vec<String> =
        (1..=NODES).map(|number| format!("node-{number}={}", place.peer(number))).collect();
    let mut command = Command::new(program);
    command
        .args(["consensus", "serve", "--cluster", "differential", "--id", &name])
        .arg("--data-dir")
        .arg(directory.join(&name))
        .args(["--listen-client", &place.client(number)])
        .args(["--listen-peer", &place.peer(number)])
        .args(["--initial-nodes", &peers.join(",")])
        .env("NO_COLOR", "1");
    Process::start(&name, &mut command, directory)
}

/// Waits until a write by way of a node is acknowledged.
async fn await_ready(address: &str, processes: &mut [Process]) -> Result<()> {
    let limit = Instant::now() + READY_LIMIT;
    loop {
        if let Some(ended) = processes.iter_mut().find_map(Process::ended) {
            bail!("{ended}");
        }
        let put = async {
            let mut kv = KvClient::connect(format!("http://{address}")).await?;
            kv.put(pb::PutRequest { key: "ready".into(), ..Default::default() }).await?;
            anyhow::Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(5), put).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) | Err(_) => ensure!(Instant::now() < limit, "{address} does not get ready"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The `ruvector` beside the running program, or beside the directory of a test.
///
/// # Errors
/// If there is none.
pub fn program_beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let candidates = own.ancestors().skip(1).take(2).map(|directory| directory.join("ruvector"));
    candidates.into_iter().find(|candidate| candidate.is_file()).context(
        "no program `ruvector` beside this one; `cargo build --profile checked -p ruvector-cli` makes it",
    )
}

/// etcd where Debian puts it.
///
/// # Errors
/// If it is not installed.
pub fn installed_etcd() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|file| file.is_file());
    found.context("the program `etcd` is needed to compare with (Debian's package etcd-server)")
}
