//! Rare situations that the seeds must reach: each is counted where it can be seen from outside a replica.
//!
//! A run of many seeds in which one of them never happens shows less than it seems to: either the simulator no
//! longer brings it about, or the system no longer does what led to it.

use ruvector_node::NodeError;
use ruvector_node::replica::{Event, JobDone, Output, PeerMessage, Replica, ReplicaEnvelope, ReplicaMessage};
use ruvector_protocol::message::AppendOutcome;
use ruvector_protocol::{Entry, Envelope, LogPosition, Message, NodeId, Term};
use ruvector_state_machine::kv::KvMachine;
use ruvector_storage::StorageError;

use crate::node::Turn;
use crate::statistics::counters;
use crate::world::{World, place_of};

counters! {
    /// How often each of the rare situations was reached.
    Marks {
        /// A leader heard no quorum for an election timeout.
        leaders_without_quorum: "leaders that gave up without a quorum",
        /// A leader's disk stood still while the others' went on.
        leaders_with_stalled_disk: "leaders that gave up with a stalled disk",
        /// Commands of its clients were under way when a leader was deposed.
        leaders_deposed_at_work: "leaders deposed with commands under way",
        /// The same, and some of them had not even come into its log.
        leaders_deposed_gathering: "leaders deposed with commands gathered",
        /// A new leader's log held entries of older terms that were not committed.
        leaders_with_old_entries: "leaders elected with uncommitted entries of older terms",
        /// A lease of a client lived at a leader change.
        leases_over_leader_change: "leaders elected while a client's lease lived",
        /// A candidate was ignored because a leader was heard.
        candidates_ignored: "candidates of a higher term ignored for a leader",
        /// A pre-vote was refused because a leader was heard.
        pre_votes_refused: "pre-votes refused for a leader",
        /// A vote was refused.
        votes_refused: "votes refused",
        /// A log's end that contradicted the leader's was replaced.
        ends_replaced: "ends of logs replaced",
        /// An append was refused, so that the leader looks for where the logs part.
        appends_refused: "appends refused",
        /// A command came into the log a second time.
        commands_repeated: "commands twice in the log",
        /// A command was applied inside a snapshot from a peer, so that its answer was lost.
        answers_lost_in_snapshots: "commands found applied by a snapshot",
        /// A write was done, the leader changed, and only then was it answered: from what its session remembers.
        session_answers_over_leader_change: "writes answered by their session after a leader change",
        /// A session was ended for another, and its client was told so.
        sessions_forgotten: "sessions forgotten and told so",
        /// History was compacted by its age or its size, unasked.
        retentions_reached: "history compacted by retention",
        /// A client was refused a session, as it had too many.
        sessions_refused: "sessions refused to clients that had too many",
        /// Commands on their way to the leader were lost.
        forwarded_lost: "forwarded commands lost on the way",
        /// A lease read was granted and came too late for the lease.
        lease_reads_too_late: "lease reads that came too late",
        /// A read waited when the leader changed.
        reads_over_leader_change: "reads waiting at a leader change",
        /// A follower asked for a read index what was no longer a leader.
        read_indexes_refused: "read indexes refused by former leaders",
        /// A follower asked a leader for a read index that another had replaced.
        replaced_leaders_asked: "read indexes asked of a leader that was replaced",
        /// The same, and the follower's disk had been replaced by an empty one.
        replaced_leaders_asked_by_newcomers: "read indexes asked of a replaced leader by a newcomer",
        /// A stale read was refused because the node knew of nothing fresh enough.
        stale_reads_refused: "stale reads refused as too old",
        /// A watcher went on at a node that lags behind what it was told.
        watches_ahead: "watches ahead of their node",
        /// What a watcher was to be told was compacted.
        watches_outrun: "watches outrun by compaction",
        /// A revision was asked for that was compacted.
        recalls_of_compacted: "reads of compacted revisions refused",
        /// A revision was asked for that the node had not applied yet.
        recalls_of_future: "reads of revisions not there yet refused",
        /// A snapshot was whole when the leader that sent it was one no more.
        snapshots_over_leader_change: "snapshots received at a leader change",
        /// A transfer of a snapshot was begun again.
        transfers_repeated: "snapshot transfers begun again",
        /// A received snapshot was damaged.
        snapshots_damaged_on_arrival: "received snapshots found damaged",
        /// A job found no thread, or broke off.
        jobs_abandoned: "snapshot jobs abandoned",
        /// A leader was behind what is committed for longer than an election timeout, and led on.
        leaders_with_backlog: "leaders that worked off a long backlog and led on",
        /// A disk became full in the middle of a snapshot.
        snapshots_on_full_disk: "snapshots that found the disk full",
        /// The power went in the middle of writing or verifying a snapshot.
        snapshots_cut_short: "snapshots cut short by a power loss",
        /// A node started from an older snapshot than the newest there is.
        snapshots_passed_over: "snapshots passed over at a start",
        /// A node whose disk was replaced by an empty one takes part again.
        disks_made_good: "nodes that take part again after their disk was replaced",
        /// Disks were rolled back, and a replica stopped over it or showed that it was in trouble.
        rollbacks_noticed: "rolled-back disks that were noticed",
        /// The same, and something was lost.
        losses_noticed: "rolled-back disks that lost what was committed, and were noticed",
        /// A node's disk was rolled back while the others ran and knew how far it had come.
        rollbacks_remembered: "rolled-back disks whose nodes were known to have come further",
        /// The same, and all others had been started again meanwhile.
        rollbacks_remembered_by_disks: "rolled-back disks whose nodes were known from others' disks to have come further",
        /// Two replicas differed, and no majority could decide.
        differences_undecided: "turns of replicas that differ while no majority can decide",
        /// Disks were rolled back, and nothing was lost by it.
        rollbacks_survived: "rolled-back disks that lost nothing",
        /// Two groups of a node had different leaders.
        groups_led_apart: "turns of nodes whose groups had different leaders",
        /// A sync was to make the writes of several groups durable.
        syncs_of_several_groups: "syncs for several groups at once",
        /// A group's entries were written once more, so that they don't keep what others wrote.
        logs_rewritten: "logs of groups written once more",
        /// The power went while several groups had written what was not known to be durable.
        power_lost_to_several_groups: "power losses with unsynced writes of several groups",
        /// A power loss left a part of the last write to the log.
        log_ends_torn: "ends of logs torn",
    }
}

impl Marks {
    /// What was never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.counts().into_iter().filter(|(_, count)| *count == 0).map(|(label, _)| label).collect()
    }
}

impl Marks {
    /// `term` and `last` are the replica's after the turn.
    fn count_kind(
        &mut self,
        before: Before,
        (term, last): (Term, LogPosition),
        outputs: &[Output<KvMachine>],
    ) {
        match before.turn {
            Kind::VoteRequest(asked) => {
                self.candidates_ignored += u64::from(asked > before.term && term == before.term);
            }
            Kind::Entries { last: before, contradict } => {
                let is_replaced = contradict && last.term > before.term;
                self.ends_replaced += u64::from(is_replaced || last.index < before.index);
            }
            Kind::Snapshot { from, term } => {
                let is_over = term != before.term || before.leader != Some(from);
                self.snapshots_over_leader_change += u64::from(is_over);
            }
            Kind::Apply => {
                let is_lost = |output: &&Output<KvMachine>| {
                    matches!(output, Output::Proposed { result: Err(NodeError::OutcomeUnknown), .. })
                };
                self.answers_lost_in_snapshots += outputs.iter().filter(is_lost).count() as u64;
            }
            Kind::Wake | Kind::Other => {}
        }
    }

    fn count_deposed(&mut self, before: Before, term: Term, is_stalled: bool) {
        self.leaders_deposed_at_work += u64::from(before.commands_waiting > 0);
        self.leaders_deposed_gathering += u64::from(before.commands_gathered > 0);
        if matches!(before.turn, Kind::Wake) && term == before.term {
            self.leaders_with_stalled_disk += u64::from(is_stalled);
            self.leaders_without_quorum += u64::from(!is_stalled);
        }
    }
}

/// What is remembered of a replica over a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    term: Term,
    leader: Option<NodeId>,
    commands_waiting: usize,
    commands_gathered: usize,
    turn: Kind,
}

/// What a turn is about, as far as it matters to a mark.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Wake,
    Apply,
    /// A request for a vote in a term arrived.
    VoteRequest(Term),
    /// Entries arrived at a log that ended here; whether they replace its end.
    Entries {
        last: LogPosition,
        contradict: bool,
    },
    /// A snapshot of this leader was verified.
    Snapshot {
        from: NodeId,
        term: Term,
    },
    Other,
}

impl Before {
    /// What must be known of a replica before a turn.
    pub(crate) fn of(replica: &Replica<KvMachine>, turn: &Turn) -> Self {
        let raft = replica.raft();
        Self {
            term: raft.term(),
            leader: raft.leader(),
            commands_waiting: replica.pending_proposals(),
            commands_gathered: raft.leader_queues().gathered,
            turn: Kind::of(replica, turn),
        }
    }
}

impl Kind {
    fn of(replica: &Replica<KvMachine>, turn: &Turn) -> Self {
        match turn {
            Turn::Apply { .. } => Self::Apply,
            Turn::Wake => Self::Wake,
            Turn::Handle(_, Event::Message(PeerMessage::Consensus(envelope))) => {
                Self::of_message(replica, envelope)
            }
            Turn::Handle(_, Event::JobDone(JobDone::Completed { from, term, result: Ok(_), .. })) => {
                Self::Snapshot { from: *from, term: *term }
            }
            Turn::Handle(..) | Turn::PeerLost(_) | Turn::Flush | Turn::Flushed(_) => Self::Other,
        }
    }

    fn of_message(replica: &Replica<KvMachine>, envelope: &Envelope) -> Self {
        if let Message::VoteRequest(_) = envelope.message {
            return Self::VoteRequest(envelope.term);
        }
        let Message::AppendRequest(request) = &envelope.message else { return Self::Other };
        let last = replica.raft().last();
        let contradicts = |entry: &Entry| entry.index <= last.index && entry.term > last.term;
        Self::Entries { last, contradict: request.entries.iter().any(contradicts) }
    }
}

impl World {
    /// Counts what a turn of a node has brought about.
    pub(crate) fn mark_turn(&mut self, node: usize, before: Before, outputs: &[Output<KvMachine>]) {
        let id = self.hosts[node].id;
        let Some(process) = &self.hosts[node].process else { return };
        let raft = process.replica().raft();
        let leader = raft.leader();
        self.marks.count_kind(before, (raft.term(), raft.last()), outputs);
        if before.leader == Some(id) && leader != Some(id) {
            let is_stalled = self.hosts[node].sync_slowdown > 1 && process.flushing;
            self.marks.count_deposed(before, raft.term(), is_stalled);
        }
        if before.leader != Some(id) && leader == Some(id) {
            let has_old = raft.commit().next() < raft.last().index;
            let lease_lives = !process.replica().view().leases().is_empty();
            self.marks.leaders_with_old_entries += u64::from(has_old);
            self.marks.leases_over_leader_change += u64::from(lease_lives);
        }
        if before.leader.is_some() && before.leader != leader {
            let readers = self.clients.iter().filter(|client| client.reads_at(node)).count();
            self.marks.reads_over_leader_change += readers as u64;
        }
    }

    /// Notes whether a leader has a backlog, and counts those that had one for long and lead on.
    pub(crate) fn mark_backlog(&mut self, node: usize) {
        let long_us = self.election_timeout_us();
        let leads = self.leads(node);
        let Some(process) = &mut self.hosts[node].process else { return };
        let raft = process.replica().raft();
        let term = raft.term();
        let is_behind = process.replica().applied().index < raft.commit();
        let since = process.backlog_since.filter(|(of_term, _)| leads && *of_term == term);
        if leads && is_behind {
            process.backlog_since = since.or(Some((term, self.now_us)));
        } else {
            process.backlog_since = None;
            let is_long = since.is_some_and(|(_, since_us)| self.now_us - since_us > long_us);
            self.marks.leaders_with_backlog += u64::from(is_long);
        }
    }

    /// Counts what a message shows that leaves a node.
    pub(crate) fn mark_message(&mut self, node: usize, message: &PeerMessage, is_lost: bool) {
        match message {
            PeerMessage::Consensus(envelope) => self.mark_envelope(node, envelope, is_lost),
            PeerMessage::Replica(ReplicaEnvelope { message, .. }) => match message {
                ReplicaMessage::SnapshotChunkResponse(response) => {
                    self.marks.transfers_repeated += u64::from(response.next_offset == 0);
                }
                ReplicaMessage::SnapshotChunk(_) | ReplicaMessage::StateHash(_) => {}
            },
        }
    }

    fn mark_envelope(&mut self, node: usize, envelope: &Envelope, is_lost: bool) {
        if let Message::ReadIndexRequest(request) = &envelope.message
            && self.is_replaced_leader(place_of(envelope.to))
        {
            self.marks.replaced_leaders_asked += 1;
            self.marks.replaced_leaders_asked_by_newcomers += u64::from(request.is_newcomer);
        }
        let hears_leader = self.replica(node).is_some_and(|replica| replica.raft().leader().is_some());
        let marks = &mut self.marks;
        match &envelope.message {
            Message::PreVoteResponse(response) => {
                marks.pre_votes_refused += u64::from(!response.granted && hears_leader);
            }
            Message::VoteResponse(response) => marks.votes_refused += u64::from(!response.granted),
            Message::AppendResponse(response) => {
                let is_refused = matches!(response.outcome, AppendOutcome::Rejected { .. });
                marks.appends_refused += u64::from(is_refused);
            }
            Message::ForwardProposals(_) => marks.forwarded_lost += u64::from(is_lost),
            Message::ReadIndexResponse(response) => {
                marks.read_indexes_refused += u64::from(response.index.is_none());
            }
            Message::PreVoteRequest(_)
            | Message::VoteRequest(_)
            | Message::AppendRequest(_)
            | Message::Heartbeat(_)
            | Message::HeartbeatResponse(_)
            | Message::ReadIndexRequest(_)
            | Message::IntroductionRequest(_)
            | Message::IntroductionResponse(_) => {}
        }
    }

    /// Whether a node leads, and another does in a later term.
    pub(crate) fn is_replaced_leader(&self, node: usize) -> bool {
        let led_term = |node: usize| {
            let replica = self.replica(node).filter(|_| self.leads(node));
            replica.map(|replica| replica.raft().term())
        };
        led_term(node).is_some_and(|term| (0..self.hosts.len()).any(|other| led_term(other) > Some(term)))
    }

    /// Counts what the end of a job shows.
    pub(crate) fn mark_job(&mut self, done: &JobDone) {
        match done {
            JobDone::Written { result: Err(StorageError::Io { source, .. }), .. } => {
                let is_full = source.kind() == std::io::ErrorKind::StorageFull;
                self.marks.snapshots_on_full_disk += u64::from(is_full);
            }
            JobDone::Completed { result: Err(StorageError::Corrupt { .. }), .. } => {
                self.marks.snapshots_damaged_on_arrival += 1;
            }
            JobDone::Written { .. } | JobDone::Completed { .. } | JobDone::Verified { .. } => {}
        }
    }

    /// Counts what a node began with.
    pub(crate) fn mark_start(&mut self, node: usize) {
        let Some(newest_file) = self.hosts[node].newest_snapshot_file() else { return };
        let used = self.replica(node).and_then(Replica::newest_snapshot).unwrap_or_default();
        self.marks.snapshots_passed_over += u64::from(used < newest_file);
    }
}
