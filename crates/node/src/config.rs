//! What a node is told at its start.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use ruvector_protocol::NodeId;
use ruvector_transport::FRAME_BYTES_MAX;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id, derived from the cluster's name and its own.
    pub id: NodeId,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
    /// Where it listens for clients, `host:port`, once known: peers tell each other when they connect.
    pub client_address: Option<String>,
}

/// The most that [`Tuning::append_bytes_max`] and [`Tuning::snapshot_chunk_bytes`] may be: what is in a message beside it has room,
/// too.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
/// The most that [`Tuning::command_bytes_max`] may be: a larger command fits into no message.
pub const COMMAND_BYTES_MAX: usize = FRAME_BYTES_MAX - 4096;

/// Everything a node needs to start.
///
/// [`NodeConfig::new`] takes what has no default. The fields may be changed afterwards.
#[derive(Debug)]
pub struct NodeConfig {
    /// The cluster's name. Together with the first members it gives the cluster's id.
    pub cluster_name: String,
    /// This node's name.
    pub node_name: String,
    /// All first members with their peer addresses, this node among them. May be empty if the data
    /// directory was used before; if given then, names and addresses must be those it was made with.
    pub initial_members: Vec<(String, String)>,
    /// The groups that the cluster has beside the one that every member is in. Names and members must be those that the data
    /// directory was made with; may be left out then.
    pub groups: Vec<NewGroup>,
    /// Where everything is kept. Made if it does not exist.
    pub data_directory: PathBuf,
    /// The bound listener for peers.
    pub peer_listener: TcpListener,
    /// Where clients reach this node, `host:port`; told to peers. May be empty.
    pub client_address: String,
    /// Intervals and limits.
    pub tuning: Tuning,
}

impl NodeConfig {
    /// A node that listens for peers at the address that `members` name for it. They are all first members, by name and
    /// address (`host:port`), this node among them.
    ///
    /// # Errors
    /// If `members` do not name the node, or its address can't be bound.
    pub fn new(
        cluster_name: &str,
        node_name: &str,
        members: &[(impl ToString, impl ToString)],
        data_directory: impl Into<PathBuf>,
    ) -> io::Result<Self> {
        let own = members.iter().find(|(name, _)| name.to_string() == node_name);
        let Some((_, address)) = own else {
            let text = format!(
                "this node, {node_name}, is not among the members, so it has no address to listen at"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let address = address.to_string();
        let listener = TcpListener::bind(&address).map_err(|error| {
            io::Error::new(error.kind(), format!("listening for peers at {address}: {error}"))
        })?;
        Ok(Self::with_listener(cluster_name, node_name, members, data_directory, listener))
    }

    /// The same for a node whose listener is bound already: to a port that was free, or to another address than the one
    /// by which its peers reach it.
    #[must_use]
    pub fn with_listener(
        cluster_name: &str,
        node_name: &str,
        members: &[(impl ToString, impl ToString)],
        data_directory: impl Into<PathBuf>,
        peer_listener: TcpListener,
    ) -> Self {
        Self {
            cluster_name: cluster_name.to_owned(),
            node_name: node_name.to_owned(),
            initial_members: members.iter().map(|(name, at)| (name.to_string(), at.to_string())).collect(),
            groups: Vec::new(),
            data_directory: data_directory.into(),
            peer_listener,
            client_address: String::new(),
            tuning: Tuning::default(),
        }
    }
}

/// A group that a cluster is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Its name, unique in the cluster.
    pub name: String,
    /// The names of its members; all of the cluster's if empty.
    pub members: Vec<String>,
}

/// The name of the group that every cluster has and every member is in.
pub const METADATA: &str = "metadata";

/// Intervals and limits, with defaults that suit most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often a leader makes itself heard, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// The minimum election timeout, in milliseconds; ten heartbeats are good.
    pub election_timeout_ms: u64,
    /// The assumed bound of clock drift between nodes, in parts per million; leases are shortened by it.
    pub clock_drift_ppm: u64,
    /// A snapshot is taken when this many entries were applied since the last, if by then the log is as large
    /// as the last snapshot; ten times as many are enough in any case.
    pub snapshot_entries: u64,
    /// A snapshot is also taken when the log has this many bytes, or as many as the last snapshot if that is
    /// larger.
    pub snapshot_log_bytes: u64,
    /// Entries kept in the log behind a snapshot for followers that are a little late; fewer if they would
    /// take more than half of `snapshot_log_bytes`.
    pub retained_entries: u64,
    /// Replicas compare their state hashes whenever the index is a multiple of this, and once in every second in which
    /// something is written; 0 for never.
    pub hash_check_entries: u64,
    /// How many commands of this node's clients may wait for their answer.
    pub pending_proposals_max: usize,
    /// How many bytes those may have together; one may always wait.
    pub pending_bytes_max: usize,
    /// How long a command or read may wait, in milliseconds, before its caller is told that the outcome is
    /// unknown.
    pub request_timeout_ms: u64,
    /// While syncs of the log take no longer than this of late, in microseconds, and nobody reads, the node waits for them;
    /// others run beside everything else it does. That costs two changes of threads a sync. 0: all run beside.
    pub inline_sync_max_us: u64,
    /// How long a leader lets proposals wait for earlier ones to be committed, so that more of them share an append and a sync,
    /// in microseconds; 0 appends what comes at once.
    pub gather_max_us: u64,
    /// Size of a log segment, in bytes.
    pub segment_bytes: u64,
    /// How many bytes of entries are kept in memory for followers that are a little late.
    pub tail_bytes_max: usize,
    /// How many bytes of uncommitted entries a leader takes before it refuses commands.
    pub uncommitted_bytes_max: usize,
    /// How many bytes of entries may be under way to one follower.
    pub inflight_bytes_max: usize,
    /// How many bytes of entries one message to a follower carries at most.
    pub append_bytes_max: usize,
    /// How many bytes of a snapshot one message to a follower carries.
    pub snapshot_chunk_bytes: usize,
    /// The largest command taken, in bytes.
    pub command_bytes_max: usize,
}

impl Tuning {
    /// How long one turn may apply what is committed, in microseconds: a fraction of a heartbeat, so that a leader with a backlog is
    /// heard in time. A command that takes longer on its own is not interrupted.
    #[must_use]
    pub fn apply_turn_us(&self) -> u64 {
        (self.heartbeat_interval_ms * 1000 / 3).max(1)
    }

    /// How many segments of the log may be kept for one group, if there are others: about what a busy one needs between two
    /// snapshots, twice.
    pub(crate) fn held_segments_max(&self) -> u64 {
        2 + 2 * self.snapshot_log_bytes.div_ceil(self.segment_bytes.max(1))
    }

    /// Sees that every message that is made by it can be sent.
    ///
    /// # Panics
    /// If a message could be too large.
    pub(crate) fn assert_messages_fit(&self) {
        let Self {
            append_bytes_max: append, snapshot_chunk_bytes: chunk, command_bytes_max: command, ..
        } = *self;
        assert!(
            append <= MESSAGE_BYTES_MAX,
            "appends of {append} bytes, at most {MESSAGE_BYTES_MAX} can be sent"
        );
        assert!(
            (1..=MESSAGE_BYTES_MAX).contains(&chunk),
            "chunks of {chunk} bytes, 1 to {MESSAGE_BYTES_MAX} can be sent"
        );
        assert!(
            command <= COMMAND_BYTES_MAX,
            "commands of {command} bytes, at most {COMMAND_BYTES_MAX} can be sent"
        );
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 30,
            election_timeout_ms: 300,
            clock_drift_ppm: 1_000,
            snapshot_entries: 100_000,
            snapshot_log_bytes: 128 << 20,
            retained_entries: 10_000,
            hash_check_entries: 512,
            pending_proposals_max: 16_384,
            pending_bytes_max: 256 << 20,
            request_timeout_ms: 7_000,
            inline_sync_max_us: 700,
            gather_max_us: 1_000,
            segment_bytes: 64 << 20,
            tail_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            inflight_bytes_max: 8 << 20,
            append_bytes_max: 128 << 10,
            snapshot_chunk_bytes: 256 << 10,
            command_bytes_max: 16 << 20,
        }
    }
}
