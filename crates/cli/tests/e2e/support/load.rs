//! Writers that remember what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use ruvector_client::{
    Client, ClientError, ClientOptions, GetOptions, KeyRange, KeyValue, Protocol, PutOptions,
};

use super::cluster::Cluster;
use super::wait::{PATIENCE, await_condition};

/// How many writers write at a time, each one key after the other.
const WRITERS: usize = 16;
/// How long a writer that speaks etcd's API waits for an answer.
const ETCD_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of each key, as its writer was told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    fates: BTreeMap<String, Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Written, with the revision that the write made.
    Acknowledged { revision: i64 },
    /// The answer got lost.
    Unknown,
    /// Refused or never sent: certainly not written.
    Refused,
}

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Ledger>,
}

impl Load {
    /// Starts writing: every key once, with a value that belongs to it.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let endpoints: Vec<String> = cluster.nodes.iter().map(|node| node.client.clone()).collect();
        let thread = {
            let (stopping, acknowledged) = (Arc::clone(&stopping), Arc::clone(&acknowledged));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(write_all(endpoints, stopping, acknowledged))
            })
        };
        Self { stopping, acknowledged, thread }
    }

    /// Waits until this many more writes were acknowledged.
    pub(crate) fn await_writes(&self, count: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        await_condition(&format!("{count} more writes"), || {
            self.acknowledged.load(Ordering::Relaxed) >= goal || self.thread.is_finished()
        });
    }

    /// Ends the writing; what became of it.
    pub(crate) fn finish(self) -> Ledger {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn write_all(
    endpoints: Vec<String>,
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Ledger {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            // Each with connections of its own, and another node first.
            let mut endpoints = endpoints.clone();
            let first = writer % endpoints.len();
            endpoints.rotate_left(first);
            let protocol = protocol_of(writer);
            // Long enough for every failover: what is sent again is not given up.
            let request_timeout = if protocol == Protocol::Native { PATIENCE } else { ETCD_TIMEOUT };
            let options = ClientOptions { protocol, request_timeout, ..ClientOptions::default() };
            let client = Client::new(endpoints.iter().map(String::as_str), options).unwrap();
            tokio::spawn(write(client, writer, Arc::clone(&stopping), Arc::clone(&acknowledged)))
        })
        .collect();
    let mut ledger = Ledger::default();
    for writer in writers {
        ledger.fates.extend(writer.await.unwrap());
    }
    ledger
}

async fn write(
    client: Client,
    writer: usize,
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> BTreeMap<String, Fate> {
    let mut fates = BTreeMap::new();
    for number in 0.. {
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("load/{writer:02}/{number:08}");
        let fate = match client.put(key.clone(), value_of(&key), PutOptions::default()).await {
            Ok(answer) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                Fate::Acknowledged { revision: answer.revision }
            }
            Err(ClientError::OutcomeUnknown { .. }) => Fate::Unknown,
            Err(
                ClientError::Unreachable { .. } | ClientError::NoLeader { .. } | ClientError::Busy { .. },
            ) => Fate::Refused,
            Err(error) => panic!("{key}: {error}"),
        };
        fates.insert(key, fate);
    }
    fates
}

/// Half of the writers speak the native protocol.
fn protocol_of(writer: usize) -> Protocol {
    if writer.is_multiple_of(2) { Protocol::Native } else { Protocol::Etcd }
}

fn value_of(key: &str) -> Bytes {
    Bytes::from(format!("the value of {key}"))
}

impl Ledger {
    /// Checks that the cluster holds every acknowledged write, no refused one, and each at most once.
    pub(crate) fn verify(&self, cluster: &Cluster) {
        let answer = cluster.wait(
            cluster.client().get(KeyRange::Prefix(Bytes::from_static(b"load/")), GetOptions::default()),
        );
        let found: BTreeMap<String, KeyValue> = answer
            .unwrap()
            .key_values
            .into_iter()
            .map(|found| (String::from_utf8(found.key.to_vec()).unwrap(), found))
            .collect();
        for (key, fate) in &self.fates {
            let found = found.get(key);
            match (*fate, found) {
                (Fate::Acknowledged { revision }, Some(found)) => {
                    assert_eq!(found.mod_revision, revision, "{key} was written again: {found:?}");
                    check(key, found);
                }
                (Fate::Acknowledged { .. }, None) => panic!("{key} was acknowledged and is lost"),
                (Fate::Unknown, Some(found)) => check(key, found),
                (Fate::Unknown | Fate::Refused, None) => {}
                (Fate::Refused, Some(found)) => panic!("{key} was refused and yet written: {found:?}"),
            }
        }
        for key in found.keys() {
            assert!(self.fates.contains_key(key), "{key} was never written");
        }
        println!("{} writes: {}", self.fates.len(), self.summary());
    }

    /// Checks that every write of the native protocol was acknowledged, whatever happened to the nodes.
    pub(crate) fn verify_nothing_unknown(&self) {
        for (key, fate) in &self.fates {
            let writer: usize = key["load/".len()..][..2].parse().unwrap();
            let is_native = protocol_of(writer) == Protocol::Native;
            assert!(!is_native || matches!(fate, Fate::Acknowledged { .. }), "{key}: {fate:?}");
        }
    }

    fn summary(&self) -> String {
        let count = |is: fn(&Fate) -> bool| self.fates.values().filter(|fate| is(fate)).count();
        format!(
            "{} acknowledged, {} unknown, {} refused",
            count(|fate| matches!(fate, Fate::Acknowledged { .. })),
            count(|fate| *fate == Fate::Unknown),
            count(|fate| *fate == Fate::Refused),
        )
    }
}

fn check(key: &str, found: &KeyValue) {
    assert_eq!(found.version, 1, "{key} was written more than once: {found:?}");
    assert_eq!(found.value, value_of(key), "{key}");
}
