//! A node of its own process, whose memory is watched.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wire::{Client, get, put};

/// Far longer than anything takes that works, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

pub(crate) struct Node {
    process: Child,
    pub(crate) address: SocketAddr,
    directory: TempDir,
    /// Its memory before anything was asked, in bytes.
    quiet: u64,
}

impl Node {
    /// A node that may hold so many mebibytes for its clients, with further limits as lines of TOML.
    pub(crate) async fn start(held_mib: u64, limits: &str) -> Self {
        let mut node = Self::start_alone(held_mib, limits, 1);
        let mut client = node.client().await;
        node.eventually("a leader", async || put(&mut client, "first", 1).await == 0).await;
        drop(client);
        node.quiet = node.memory();
        node
    }

    /// One of several members, of which no other runs.
    pub(crate) fn start_alone(held_mib: u64, limits: &str, members: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let peers: String =
            (1..=members).map(|number| format!("node-{number} = \"{}\"\n", free_address())).collect();
        let peer = peers.split('"').nth(1).unwrap();
        let config = directory.path().join("node.toml");
        let text = format!(
            "cluster = \"hostile\"\nid = \"node-1\"\ndata_dir = \"{}\"\nlisten_client = \"{address}\"\n\
             listen_peer = \"{peer}\"\n[initial_nodes]\n{peers}[limits]\nheld_bytes = {}\n{limits}\n",
            directory.path().join("data").display(),
            held_mib * MIB,
        );
        // An old program does not know the limit that is tried here.
        let text = match std::env::var_os("HOSTILE_WITHOUT_LIMIT") {
            Some(_) => {
                text.lines().filter(|line| !line.starts_with("held_bytes")).collect::<Vec<_>>().join("\n")
            }
            None => text,
        };
        fs::write(&config, text).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new(program())
            .args(["consensus", "serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, address, directory, quiet: 0 }
    }

    pub(crate) async fn client(&self) -> Client {
        self.connect(usize::MAX).await
    }

    /// A client that takes no more than so many bytes from its socket.
    pub(crate) async fn connect(&self, hears_bytes: usize) -> Client {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Client::connect(self.address, hears_bytes).await {
                Ok(client) => return client,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is resident, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect("a running process");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Forgets how much memory it once had.
    pub(crate) fn begin_load(&mut self) {
        self.quiet = self.memory();
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// Asserts that never since [`begin_load`](Self::begin_load) more than so many mebibytes came to what it had.
    pub(crate) fn assert_held_less_than(&self, mib: u64) {
        let more = self.status("VmHWM:").saturating_sub(self.quiet) / MIB;
        println!("at most {more} MiB came to {} MiB, {mib} are allowed", self.quiet / MIB);
        assert!(more < mib, "{more} MiB came to {} MiB, {mib} are allowed: {}", self.quiet / MIB, self.log());
    }

    /// Waits until all but so many mebibytes of what came to it since the load began are given back.
    pub(crate) async fn gives_back_all_but(&self, mib: u64) {
        self.eventually("memory given back", async || self.memory().saturating_sub(self.quiet) / MIB < mib)
            .await;
        println!("{} MiB of it are left", self.memory().saturating_sub(self.quiet) / MIB);
    }

    /// A client with small wishes, on a connection of its own, is served. How soon is printed.
    pub(crate) async fn serves_the_polite(&self) {
        let serving = async {
            let mut client = self.client().await;
            let mut times = Vec::new();
            for number in 0..50 {
                let key = format!("polite-{number}");
                assert_eq!(put(&mut client, &key, 100).await, 0);
                let asked = Instant::now();
                assert_eq!(get(&mut client, &key).await.0, 0);
                times.push(asked.elapsed());
            }
            times.sort();
            println!("a polite client's gets took {:?} at the median, {:?} at most", times[25], times[49]);
        };
        tokio::time::timeout(PATIENCE, serving).await.expect("the polite are served");
    }

    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "never came: {what}; {} MiB now; {}", self.memory() / MIB, self.log());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let log = self.log();
        assert!(std::thread::panicking() || !log.contains("panicked"), "{log}");
    }
}

fn program() -> PathBuf {
    std::env::var_os("HOSTILE_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_ruvector").into(), PathBuf::from)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
