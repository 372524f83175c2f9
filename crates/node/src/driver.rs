//! The thread that owns a node's groups: it takes everything that waits, feeds the replicas, sends, applies, syncs
//! and answers, and then waits again.

mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use ruvector_protocol::{GroupId, Index};
use ruvector_state_machine::StateMachine;
use ruvector_storage::SnapshotInfo;
use ruvector_transport::{Transport, TransportEvent};

use crate::answer::{Answered, Courier, Reply};
use crate::batch::Answers;
use crate::budget::Permit;
use crate::clock;
use crate::flusher::Flusher;
use crate::host::Host;
use crate::jobs;
use crate::mailbox::Mailbox;
use crate::outcome::{Applied, NodeError, ReadLevel, ReadResult};
use crate::publication::Published;
use crate::replica::{Event, Output, ReadGrant, Replica, ReplicaError, SnapshotJob, Ticket};
use crate::request::{Administration, Ask, Request};
use crate::shared::{GroupShared, NodeShared};
use crate::stretch::Stretch;

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
    Read(GroupId, Reply<ReadResult<M::View>>),
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

/// The owner of a node's running groups.
///
/// Invariants:
/// - `groups` has exactly those of the host;
/// - tickets of all groups are drawn from one row, so each has one waiter at most;
/// - a sync is put off only while something waits for it, or the driver would never rest;
/// - between two turns all answers are handed over.
#[derive(Debug)]
pub(crate) struct Driver<M: StateMachine> {
    host: Host<M>,
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
    node: Arc<NodeShared>,
    groups: BTreeMap<GroupId, Arc<GroupShared<M::View>>>,
    courier: Arc<Courier<M>>,
    waiters: HashMap<Ticket, Waiter<M>>,
    next_ticket: u64,
    outputs: Vec<Output<M>>,
    /// Not handed over yet.
    answered: Vec<Answered<M>>,
}

/// What a turn took for a group, so that it shares an append and a round.
#[derive(Debug, Default)]
struct Gathered {
    proposals: Vec<(Ticket, Bytes)>,
    reads: Vec<(Ticket, ReadLevel)>,
}

/// What a driver is made of.
#[derive(Debug)]
pub(crate) struct Parts<M: StateMachine> {
    pub(crate) host: Host<M>,
    pub(crate) requests: Receiver<Request<M>>,
    pub(crate) own_requests: Mailbox<M>,
    pub(crate) transport: Transport,
    pub(crate) flusher: Flusher,
    pub(crate) apply_longest: Duration,
    pub(crate) node: Arc<NodeShared>,
    /// One for each group of the host.
    pub(crate) groups: BTreeMap<GroupId, Arc<GroupShared<M::View>>>,
    pub(crate) courier: Arc<Courier<M>>,
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
    pub(crate) fn new(parts: Parts<M>) -> Self {
        let Parts { host, requests, own_requests, transport, flusher, apply_longest, node, groups, courier } =
            parts;
        assert!(
            host.groups().eq(groups.keys().copied()),
            "every group of the host, and no other, is published"
        );
        Self {
            host,
            requests,
            own_requests,
            transport,
            arrived: Vec::new(),
            flusher,
            taken: 0,
            sync_waits: false,
            apply_longest,
            node,
            groups,
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
            let Output::Send(message) = output else { continue };
            let is_connected = |driver: &Self| {
                driver.transport.counters().get(&message.to()).is_some_and(|counters| counters.connected)
            };
            while !is_connected(self) && begun.elapsed() < LAST_WORDS_MAX {
                std::thread::sleep(LAST_WORDS_MAX / 100);
            }
            self.transport.send(message);
        }
        self.transport.flush();
    }

    fn run_turns(&mut self) -> Result<(), ReplicaError> {
        for group in self.host.groups().collect::<Vec<_>>() {
            self.handle(group, Event::Wake)?;
        }
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
        let waiting = self.answered.len();
        assert_eq!(waiting, 0, "answers that are not handed over while the driver waits");
        let is_wanted = self.host.needs_flush();
        assert!(!self.sync_waits || is_wanted, "a sync is put off that nothing waits for");
        let now = clock::now();
        let longest = self.host.deadline(now).map(|at| Duration::from_micros(at.micros_since(now)));
        let nothing_to_do = !self.has_more_to_do();
        self.transport.wait(longest, || nothing_to_do && self.requests.is_empty());
    }

    /// Whether settling was left off to look for what has come.
    fn has_more_to_do(&self) -> bool {
        self.sync_waits || !self.outputs.is_empty() || self.host.needs_apply()
    }

    /// Takes everything that waits. Proposals and reads are gathered, so that they share an append and a
    /// round.
    fn turn(&mut self) -> Result<Turn, ReplicaError> {
        self.hear_peers()?;
        let mut gathered = BTreeMap::new();
        let mut taken = 0;
        while taken < TURN_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            match request {
                Request::Ask(group, ask) => {
                    taken += self.take(group, ask, gathered.entry(group).or_default())?
                }
                Request::Stop => return Ok(Turn::Stop),
                Request::Job(group, done) => self.handle(group, done)?,
                Request::Flushed(outcome) => {
                    let flushed = self.flusher.take(outcome);
                    self.host.flushed(clock::now(), flushed, &mut self.outputs)?;
                }
            }
            taken += 1;
        }
        self.taken += taken;
        for (group, Gathered { proposals, reads }) in gathered {
            if !proposals.is_empty() {
                self.handle(group, Event::Propose(proposals))?;
            }
            if !reads.is_empty() {
                self.handle(group, Event::Read(reads))?;
            }
        }
        // Last: what has just been proposed carries to the followers what a wake would have to tell on its own.
        self.host.wake(clock::now(), &mut self.outputs)?;
        Ok(Turn::Continue)
    }

    /// Takes what is asked of a group. Returns how much it is beside one request.
    fn take(&mut self, group: GroupId, ask: Ask<M>, gathered: &mut Gathered) -> Result<usize, ReplicaError> {
        match ask {
            Ask::Propose { command, permit, reply } => {
                gathered.proposals.push((self.ticket(Waiter::Proposal(reply, permit)), command));
            }
            Ask::ProposeBatch(batch) => {
                let count = batch.commands.len();
                for (number, command) in batch.commands {
                    let answers = batch.answers.clone();
                    gathered.proposals.push((self.ticket(Waiter::Batched { number, answers }), command));
                }
                return Ok(count);
            }
            Ask::Read { level, reply } => {
                gathered.reads.push((self.ticket(Waiter::Read(group, reply)), level));
            }
            Ask::Publish { reply } => {
                let version = self.newest_version(group);
                self.answered.push(Answered::Version(reply, Ok(version)));
            }
            Ask::Administration(request) => self.administrate(group, request)?,
        }
        Ok(0)
    }

    fn administrate(&mut self, group: GroupId, request: Administration) -> Result<(), ReplicaError> {
        match request {
            Administration::Status { reply } => drop(reply.send(Ok(self.status(group)))),
            Administration::GroupStatus { reply } => drop(reply.send(Ok(self.group_status(group)))),
            Administration::ClusterTime { reply } => {
                drop(reply.send(Ok(self.replica(group).raft().cluster_time(clock::now()))));
            }
            Administration::LogTail { count, reply } => {
                drop(reply.send(Ok(self.replica(group).log_tail(count)?)));
            }
            Administration::CompactLog { before, reply } => {
                let ticket = self.ticket(Waiter::Compaction(reply));
                self.handle(group, Event::CompactLog { ticket, before })?;
            }
            Administration::CreateSnapshot { name, reply } => {
                let ticket = self.ticket(Waiter::Snapshot(reply));
                self.handle(group, Event::CreateSnapshot { ticket, name })?;
            }
            Administration::ListSnapshots { reply } => {
                let list = self.replica(group).snapshots();
                drop(reply.send(list.map_err(|error| NodeError::Refused(error.to_string()))));
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
                TransportEvent::Received(message) => self.handle(message.group(), Event::Message(message))?,
                TransportEvent::PeerConnected { peer, client_address } => {
                    self.node.learn_client_address(peer, client_address);
                }
                TransportEvent::PeerLost(peer) => {
                    self.host.peer_lost(clock::now(), peer, &mut self.outputs)?
                }
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    fn handle(&mut self, group: GroupId, event: Event) -> Result<(), ReplicaError> {
        self.host.handle(clock::now(), group, event, &mut self.outputs)
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
        for (&group, shared) in &self.groups {
            let raft = self.replica(group).raft();
            shared.set_leader(raft.term(), raft.leader());
        }
        Ok(())
    }

    /// What settling does next, now that everything is said.
    fn next(&mut self, applying: &Stretch) -> Next {
        if self.host.needs_apply() && !applying.is_over {
            Next::Apply
        } else if self.host.needs_flush() && !self.flusher.is_busy() {
            self.sync_waits = !self.sync_waits && self.taken >= CROWDED_TURN;
            if self.sync_waits { Next::Look } else { Next::Sync }
        } else {
            // What was put off may be done: to drop the log behind a snapshot syncs, too.
            self.sync_waits = false;
            if self.outputs.is_empty() { Next::Rest } else { Next::Speak }
        }
    }

    fn apply(&mut self, applying: &mut Stretch) -> Result<(), ReplicaError> {
        let begun = applying.begin();
        self.host.apply(clock::now(), || applying.is_over_now(), &mut self.outputs)?;
        self.node.metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Has what waits made durable. Returns what is next: if that was done here, to look before anything is said of it.
    fn sync(&mut self) -> Result<Next, ReplicaError> {
        let reads_begun = self.host.reads_begun();
        if let Some(flushed) = self.flusher.flush(self.host.flush_job(), reads_begun) {
            self.host.flushed(clock::now(), flushed, &mut self.outputs)?;
            if !self.outputs.is_empty() {
                return Ok(Next::Look);
            }
        }
        Ok(Next::Speak)
    }

    fn dispatch(&mut self) -> Result<(), ReplicaError> {
        let mut again: BTreeMap<GroupId, Vec<_>> = BTreeMap::new();
        let mut not_begun = Vec::new();
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send(message) => self.transport.send(message),
                Output::Proposed { ticket, result } => match self.waiters.remove(&ticket) {
                    Some(Waiter::Proposal(reply, _)) => {
                        self.answered.push(Answered::Proposal(reply, result));
                    }
                    Some(Waiter::Batched { number, answers }) => answers.answer(number, result),
                    Some(Waiter::Read(..) | Waiter::Snapshot(_) | Waiter::Compaction(_)) | None => {}
                },
                Output::ReadReady { ticket, result } => {
                    if let Some(group) = self.read_ready(ticket, result) {
                        again.entry(group).or_default().push((ticket, ReadLevel::Strong));
                    }
                }
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
                Output::Run { group, job } => {
                    not_begun.extend(self.run_job(group, job).map(|done| (group, done)));
                }
                Output::Published { group } => {
                    let applied = self.replica(group).applied().index;
                    self.shared(group).publication.advance(applied, || self.version(group));
                }
            }
        }
        self.outputs = outputs;
        self.courier.hand_over(&mut self.answered);
        for (group, done) in not_begun {
            self.handle(group, done)?;
        }
        again.into_iter().try_for_each(|(group, reads)| self.handle(group, Event::Read(reads)))
    }

    /// Gives a reader the present version; or returns the group of a read that is to be made safe another way, as the lease
    /// that it rests on ended before the version was taken.
    fn read_ready(&mut self, ticket: Ticket, result: Result<ReadGrant, NodeError>) -> Option<GroupId> {
        let Some(Waiter::Read(group, reply)) = self.waiters.remove(&ticket) else { return None };
        let published = self.newest_version(group);
        if let Ok(grant) = &result
            && grant.lease_until.is_some_and(|until| clock::now() >= until)
        {
            self.waiters.insert(ticket, Waiter::Read(group, reply));
            return Some(group);
        }
        let result = result.map(|grant| ReadResult { published, staleness_us: grant.staleness_us });
        self.answered.push(Answered::Read(reply, result));
        None
    }

    fn newest_version(&self, group: GroupId) -> Arc<Published<M::View>> {
        let publication = &self.shared(group).publication;
        publication.for_driver().unwrap_or_else(|| publication.publish(self.version(group)))
    }

    fn version(&self, group: GroupId) -> Published<M::View> {
        let replica = self.replica(group);
        Published { view: replica.view(), applied: replica.applied() }
    }

    /// Has a job run beside this thread; returns its end if it could not begin.
    fn run_job(&self, group: GroupId, job: SnapshotJob<M>) -> Option<Event> {
        let requests = self.own_requests.clone();
        jobs::begin(job, move |done| requests.send(Request::Job(group, done)), jobs::spawn)
    }

    fn replica(&self, group: GroupId) -> &Replica<M> {
        self.host.replica(group).expect(HANDLES)
    }

    fn shared(&self, group: GroupId) -> &GroupShared<M::View> {
        self.groups.get(&group).expect(HANDLES)
    }

    fn ticket(&mut self, waiter: Waiter<M>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let before = self.waiters.insert(ticket, waiter);
        assert!(before.is_none(), "ticket {} was given twice", ticket.0);
        ticket
    }
}

const HANDLES: &str = "there are handles only of groups that are here";
