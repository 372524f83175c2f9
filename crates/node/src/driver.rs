//! The thread that owns a replica: it takes everything that waits, feeds the replica, sends, applies, syncs
//! and answers, and then waits again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use ruvector_protocol::{Index, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotInfo, SnapshotListing};
use ruvector_transport::{Transport, TransportEvent};

use crate::answer::{Answered, Courier, Reply};
use crate::batch::{Answers, Batch};
use crate::budget::Permit;
use crate::clock;
use crate::flusher::{FlushOutcome, Flusher};
use crate::handle::{Applied, NodeError, ReadLevel, ReadResult};
use crate::jobs;
use crate::mailbox::Mailbox;
use crate::publication::Published;
use crate::replica::{Event, Output, ReadGrant, Replica, ReplicaError, SnapshotJob, Ticket};
use crate::shared::Shared;
use crate::status::{LogRecord, NodeStatus, PeerStatus};
use crate::stretch::Stretch;

/// What reaches the driver from this node; what peers say comes by the transport.
#[derive(Debug)]
pub(crate) enum Request<M: StateMachine> {
    Propose { command: Bytes, permit: Option<Permit>, reply: Reply<Applied<M::Response>> },
    ProposeBatch(Batch<M::Response>),
    Read { level: ReadLevel, reply: Reply<ReadResult<M::View>> },
    Publish { reply: Reply<Arc<Published<M::View>>> },
    Administration(Administration),
    Job(Event),
    Flushed(FlushOutcome),
    Stop,
}

/// What operators ask.
#[derive(Debug)]
pub(crate) enum Administration {
    Status { reply: Reply<NodeStatus> },
    LogTail { count: usize, reply: Reply<Vec<LogRecord>> },
    CompactLog { before: Index, reply: Reply<Index> },
    CreateSnapshot { name: String, reply: Reply<SnapshotInfo> },
    ListSnapshots { reply: Reply<SnapshotListing> },
}

/// Who waits for what a replica was asked under a ticket.
#[derive(Debug)]
enum Waiter<M: StateMachine> {
    /// The permit is held for the command, which the replica keeps as long as somebody waits here.
    Proposal(
        Reply<Applied<M::Response>>,
        #[expect(dead_code, reason = "let go when dropped")] Option<Permit>,
    ),
    Batched {
        number: u64,
        answers: Answers<M::Response>,
    },
    Read(Reply<ReadResult<M::View>>),
    Snapshot(Reply<SnapshotInfo>),
    Compaction(Reply<Index>),
}

/// How many requests one turn takes at most, so that what it makes durable together stays bounded.
const TURN_REQUESTS_MAX: usize = 2048;

/// After a turn that took so many requests and messages more are expected to come at any moment. A single client's put makes
/// turns of one.
const CROWDED_TURN: usize = 4;

/// How long a node that is contradicted waits at most for a connection to tell its leader so.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The owner of a running replica.
#[derive(Debug)]
pub(crate) struct Driver<M: StateMachine> {
    replica: Replica<M>,
    requests: Receiver<Request<M>>,
    /// For jobs to hand in what they did.
    own_requests: Mailbox<M>,
    transport: Transport,
    /// What the transport told this turn.
    arrived: Vec<TransportEvent>,
    flusher: Flusher,
    /// How much the last turn took.
    taken: usize,
    /// A sync is put off until the next turn.
    sync_waits: bool,
    /// How long one turn may apply.
    apply_longest: Duration,
    shared: Arc<Shared<M::View>>,
    courier: Arc<Courier<M>>,
    waiters: HashMap<Ticket, Waiter<M>>,
    next_ticket: u64,
    outputs: Vec<Output<M>>,
    /// Not handed over yet.
    answered: Vec<Answered<M>>,
}

/// What a driver that settles does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Apply what is committed. A turn applies for so long at most ([`Stretch`]); what is left waits for the next one, so that a
    /// leader with a long backlog is heard, and hears.
    Apply,
    /// Make durable what waits, here or on the flusher's thread.
    Sync,
    /// Say what has been found out.
    Speak,
    /// Look for what has come. When a sync has ended here, what came meanwhile is taken before the sync is told of: then an
    /// acknowledgement leaves with the proposals, and what is committed with the next entries, in one message to the system and
    /// one turn at the peer. And when much comes, the sync itself waits for one more look, for what came while messages left.
    Look,
    /// Wait: nothing is left to do, or what is left waits for another turn.
    Rest,
}

/// Whether the driver goes on after a turn.
#[derive(PartialEq, Eq)]
enum Turn {
    Continue,
    Stop,
}

impl<M: StateMachine> Driver<M> {
    pub(crate) fn new(
        replica: Replica<M>,
        requests: Receiver<Request<M>>,
        own_requests: Mailbox<M>,
        transport: Transport,
        flusher: Flusher,
        shared: Arc<Shared<M::View>>,
        courier: Arc<Courier<M>>,
    ) -> Self {
        let apply_longest = Duration::from_micros(replica.apply_turn_us());
        Self {
            replica,
            requests,
            own_requests,
            transport,
            arrived: Vec::new(),
            flusher,
            taken: 0,
            sync_waits: false,
            apply_longest,
            shared,
            courier,
            waiters: HashMap::new(),
            next_ticket: 0,
            outputs: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Runs until asked to stop.
    ///
    /// # Errors
    /// Why the replica can't go on.
    pub(crate) fn run(mut self) -> Result<(), ReplicaError> {
        let ended = self.run_turns();
        if matches!(ended, Err(ReplicaError::Contradicted { .. })) {
            self.send_last_messages();
        }
        ended
    }

    /// Tells the leader that this node stops, and why. Just started it may not have reached the leader yet.
    fn send_last_messages(&mut self) {
        let begun = Instant::now();
        for output in std::mem::take(&mut self.outputs) {
            let Output::Send(envelope) = output else { continue };
            let is_connected = |driver: &Self| {
                driver.transport.counters().get(&envelope.to).is_some_and(|counters| counters.connected)
            };
            while !is_connected(self) && begun.elapsed() < LAST_WORDS_MAX {
                std::thread::sleep(LAST_WORDS_MAX / 100);
            }
            self.transport.send(envelope);
        }
        self.transport.flush();
    }

    fn run_turns(&mut self) -> Result<(), ReplicaError> {
        self.handle(Event::Wake)?;
        self.settle()?;
        loop {
            self.wait();
            let turn = self.turn()?;
            self.settle()?;
            if turn == Turn::Stop {
                // What is committed and not applied is so after the next start; the callers learn that this node has stopped.
                while self.sync_waits || !self.outputs.is_empty() {
                    self.settle()?;
                }
                return Ok(());
            }
        }
    }

    /// Waits for a request, a message or the replica's deadline; only looks for them if there is something to do already.
    fn wait(&mut self) {
        let now = clock::now();
        let longest = self.replica.deadline(now).map(|at| Duration::from_micros(at.micros_since(now)));
        let nothing_to_do = !self.has_more_to_do();
        self.transport.wait(longest, || nothing_to_do && self.requests.is_empty());
    }

    /// Whether settling was left off to look for what has come.
    fn has_more_to_do(&self) -> bool {
        self.sync_waits || !self.outputs.is_empty() || self.replica.needs_apply()
    }

    /// Takes everything that waits. Proposals and reads are gathered, so that they share an append and a
    /// round.
    fn turn(&mut self) -> Result<Turn, ReplicaError> {
        self.hear_peers()?;
        let mut proposals = Vec::new();
        let mut reads = Vec::new();
        let mut taken = 0;
        while taken < TURN_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            match request {
                Request::Propose { command, permit, reply } => {
                    proposals.push((self.ticket(Waiter::Proposal(reply, permit)), command));
                }
                Request::ProposeBatch(batch) => {
                    taken += batch.commands.len();
                    for (number, command) in batch.commands {
                        let answers = batch.answers.clone();
                        proposals.push((self.ticket(Waiter::Batched { number, answers }), command));
                    }
                }
                Request::Read { level, reply } => reads.push((self.ticket(Waiter::Read(reply)), level)),
                Request::Publish { reply } => {
                    let version = self.newest_version();
                    self.answered.push(Answered::Version(reply, Ok(version)));
                }
                Request::Stop => return Ok(Turn::Stop),
                Request::Job(done) => self.handle(done)?,
                Request::Flushed(outcome) => {
                    let flushed = self.flusher.take(outcome);
                    self.replica.flushed(clock::now(), flushed, &mut self.outputs)?;
                }
                Request::Administration(request) => self.administrate(request)?,
            }
            taken += 1;
        }
        self.taken += taken;
        if !proposals.is_empty() {
            self.handle(Event::Propose(proposals))?;
        }
        if !reads.is_empty() {
            self.handle(Event::Read(reads))?;
        }
        // Last: what has just been proposed carries to the followers what a wake would have to tell on its own.
        let now = clock::now();
        if self.replica.deadline(now).is_some_and(|deadline| deadline <= now) {
            self.handle(Event::Wake)?;
        }
        Ok(Turn::Continue)
    }

    fn administrate(&mut self, request: Administration) -> Result<(), ReplicaError> {
        match request {
            Administration::Status { reply } => drop(reply.send(Ok(self.status()))),
            Administration::LogTail { count, reply } => {
                drop(reply.send(Ok(self.replica.log_tail(count)?)));
            }
            Administration::CompactLog { before, reply } => {
                let ticket = self.ticket(Waiter::Compaction(reply));
                self.handle(Event::CompactLog { ticket, before })?;
            }
            Administration::CreateSnapshot { name, reply } => {
                let ticket = self.ticket(Waiter::Snapshot(reply));
                self.handle(Event::CreateSnapshot { ticket, name })?;
            }
            Administration::ListSnapshots { reply } => {
                let list = self.replica.snapshots().map_err(|error| NodeError::Refused(error.to_string()));
                drop(reply.send(list));
            }
        }
        Ok(())
    }

    fn hear_peers(&mut self) -> Result<(), ReplicaError> {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.transport.receive(&mut arrived);
        self.taken = arrived.len();
        for event in arrived.drain(..) {
            match event {
                TransportEvent::Received(envelope) => self.handle(Event::Message(envelope))?,
                TransportEvent::PeerConnected { peer, client_address } => {
                    self.shared.learn_client_address(peer, client_address);
                }
                TransportEvent::PeerLost(peer) => self.handle(Event::PeerLost(peer))?,
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), ReplicaError> {
        self.replica.handle(clock::now(), event, &mut self.outputs)
    }

    /// Sends, applies, syncs and answers until nothing is left to do but what runs elsewhere, or until it is time to look for what
    /// has come ([`Next::Look`]). Messages leave before the sync, and answers to what is applied do not wait for it.
    fn settle(&mut self) -> Result<(), ReplicaError> {
        let mut applying = Stretch::new(self.apply_longest);
        loop {
            self.dispatch()?;
            self.transport.flush();
            match self.next(&applying) {
                Next::Apply => self.apply(&mut applying)?,
                Next::Sync if self.sync()? == Next::Look => break,
                Next::Sync | Next::Speak => {}
                Next::Look | Next::Rest => break,
            }
        }
        self.shared.set_leader(self.replica.raft().term(), self.replica.raft().leader());
        Ok(())
    }

    /// What settling does next, now that everything is said.
    fn next(&mut self, applying: &Stretch) -> Next {
        if self.replica.needs_apply() && !applying.is_over {
            Next::Apply
        } else if self.replica.needs_flush() && !self.flusher.is_busy() {
            self.sync_waits = !self.sync_waits && self.taken >= CROWDED_TURN;
            if self.sync_waits { Next::Look } else { Next::Sync }
        } else if !self.outputs.is_empty() {
            Next::Speak
        } else {
            Next::Rest
        }
    }

    fn apply(&mut self, applying: &mut Stretch) -> Result<(), ReplicaError> {
        let begun = applying.begin();
        self.replica.apply(clock::now(), || applying.is_over_now(), &mut self.outputs)?;
        self.shared.metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Has what waits made durable. Returns what is next: if that was done here, to look before anything is said of it.
    fn sync(&mut self) -> Result<Next, ReplicaError> {
        let reads_begun = self.replica.reads_begun();
        if let Some(flushed) = self.flusher.flush(self.replica.flush_job(), reads_begun) {
            self.replica.flushed(clock::now(), flushed, &mut self.outputs)?;
            if !self.outputs.is_empty() {
                return Ok(Next::Look);
            }
        }
        Ok(Next::Speak)
    }

    fn dispatch(&mut self) -> Result<(), ReplicaError> {
        let mut again = Vec::new();
        let mut not_begun = Vec::new();
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send(envelope) => self.transport.send(envelope),
                Output::Proposed { ticket, result } => match self.waiters.remove(&ticket) {
                    Some(Waiter::Proposal(reply, _)) => {
                        self.answered.push(Answered::Proposal(reply, result));
                    }
                    Some(Waiter::Batched { number, answers }) => answers.answer(number, result),
                    Some(Waiter::Read(_) | Waiter::Snapshot(_) | Waiter::Compaction(_)) | None => {}
                },
                Output::ReadReady { ticket, result } => again.extend(self.read_ready(ticket, result)),
                Output::SnapshotCreated { ticket, result } => {
                    if let Some(Waiter::Snapshot(reply)) = self.waiters.remove(&ticket) {
                        drop(reply.send(result));
                    }
                }
                Output::LogCompacted { ticket, result } => {
                    if let Some(Waiter::Compaction(reply)) = self.waiters.remove(&ticket) {
                        drop(reply.send(result));
                    }
                }
                Output::Run(job) => not_begun.extend(self.run_job(job)),
                Output::Published => {
                    self.shared.publication.advance(self.replica.applied().index, || self.version());
                }
            }
        }
        self.outputs = outputs;
        self.courier.hand_over(&mut self.answered);
        for done in not_begun {
            self.handle(done)?;
        }
        if again.is_empty() { Ok(()) } else { self.handle(Event::Read(again)) }
    }

    /// Gives a reader the present version; or returns the read, to be made safe another way, if the lease
    /// that it rests on ended before the version was taken.
    fn read_ready(
        &mut self,
        ticket: Ticket,
        result: Result<ReadGrant, NodeError>,
    ) -> Option<(Ticket, ReadLevel)> {
        let published = self.newest_version();
        if let Ok(grant) = &result
            && grant.lease_until.is_some_and(|until| clock::now() >= until)
        {
            return Some((ticket, ReadLevel::Strong));
        }
        if let Some(Waiter::Read(reply)) = self.waiters.remove(&ticket) {
            let result = result.map(|grant| ReadResult { published, staleness_us: grant.staleness_us });
            self.answered.push(Answered::Read(reply, result));
        }
        None
    }

    fn newest_version(&self) -> Arc<Published<M::View>> {
        let publication = &self.shared.publication;
        publication.for_driver().unwrap_or_else(|| publication.publish(self.version()))
    }

    fn version(&self) -> Published<M::View> {
        Published { view: self.replica.view(), applied: self.replica.applied() }
    }

    /// Has a job run beside this thread; returns its end if it could not begin.
    fn run_job(&self, job: SnapshotJob<M>) -> Option<Event> {
        let requests = self.own_requests.clone();
        jobs::begin(job, move |done| requests.send(Request::Job(done)), jobs::spawn)
    }

    fn ticket(&mut self, waiter: Waiter<M>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiters.insert(ticket, waiter);
        ticket
    }

    fn status(&self) -> NodeStatus {
        let now = clock::now();
        let raft = self.replica.raft().status();
        let (log_bytes, log_syncs) = self.replica.log_counters();
        NodeStatus {
            node: self.shared.identity.node_id,
            cluster_id: self.shared.identity.cluster_id,
            role: raft.role,
            leader: raft.leader,
            term: raft.term,
            commit: raft.commit,
            applied: self.replica.applied().index,
            last: raft.last,
            first: self.replica.first_index(),
            voters: raft.membership.voters.iter().copied().collect(),
            cluster_time: self.replica.raft().cluster_time(now),
            state_hash: self.replica.state_hash(),
            staleness_us: self.replica.raft().staleness_us(now),
            log_bytes,
            log_syncs,
            pending_proposals: self.replica.pending_proposals(),
            leader_changes: self.replica.leader_changes(),
            snapshot: self.replica.newest_snapshot(),
            unheard: raft.unheard,
            differs_at: self.replica.differs_at(),
            peers: self.peer_statuses(now),
        }
    }

    fn peer_statuses(&self, now: Timestamp) -> Vec<PeerStatus> {
        let raft = self.replica.raft().status();
        let counters = self.transport.counters();
        raft.membership
            .voters
            .iter()
            .filter(|peer| **peer != self.shared.identity.node_id)
            .map(|peer| {
                let follower = raft.followers.iter().find(|follower| follower.node == *peer);
                let counters = counters.get(peer).cloned().unwrap_or_default();
                PeerStatus {
                    node: *peer,
                    connected: counters.connected,
                    matched: follower.map(|follower| follower.matched),
                    commit: follower.and_then(|follower| follower.commit).map(|commit| commit.index),
                    contradicts: raft.contradicted_by.get(peer).copied(),
                    unmatched_us: follower
                        .and_then(|follower| follower.unmatched_since)
                        .map(|since| now.micros_since(since)),
                    state: follower.map(|follower| follower.state),
                    heard_us_ago: follower
                        .and_then(|follower| follower.heard_at)
                        .map(|heard| now.micros_since(heard)),
                    sent_bytes: counters.sent_bytes,
                    received_bytes: counters.received_bytes,
                    dropped_messages: counters.dropped_messages,
                }
            })
            .collect()
    }
}
