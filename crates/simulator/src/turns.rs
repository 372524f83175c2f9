//! How the nodes of a world run: what arrives goes into the replica, what comes out goes on its way.

use ruvector_node::FlushJob;
use ruvector_node::ReplicaError;
use ruvector_node::replica::{Event, JobDone, Output, PeerMessage, SnapshotJob};
use ruvector_protocol::{GroupId, NodeId};
use ruvector_state_machine::kv::KvMachine;
use ruvector_storage::StorageError;
use ruvector_storage::disk::simulated::Crash;

use crate::faults::FaultKind;
use crate::marks::Before;
use crate::node::{Process, Turn};
use crate::trace::Place;
use crate::violation::{Violation, ensure};
use crate::world::{Arrival, Due, Happening, World, describe_job, place_of};

/// How long a turn of applying takes at most, in microseconds.
const APPLY_MAX_US: u64 = 200;
/// How many election timeouts writing or verifying a snapshot file takes at most: leaders change meanwhile.
const JOB_TIMEOUTS_MAX: u64 = 2;
/// How many flushes of a thousand a node does itself; the others run beside it.
const FLUSHED_INLINE_PER_MILLE: u64 = 300;
/// How long it takes at most from the grant of a read to the read.
const READ_MAX_US: u64 = 2_000;
/// A node that is woken this often in a row without anything coming of it spins.
const IDLE_WAKES_MAX: u32 = 1000;
/// Within how many microseconds a node that was paused takes up everything that waited.
const RESUME_MAX_US: u64 = 500;
/// How many crashes of a thousand take the disk with them in a world where disks are replaced.
const DISK_LOST_PER_MILLE: u64 = 200;
/// How soon after a turn a node can be woken, in microseconds.
const WAKE_GAP_US: u64 = 50;

impl World {
    /// Starts a node, unless it runs or is retired.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Violation> {
        let host = &self.hosts[node];
        if host.process.is_some() || host.retired || host.down_until_us > self.now_us {
            return Ok(());
        }
        self.draw_settings(node);
        let host = &mut self.hosts[node];
        let first = host.life == 0;
        let place = Place::Node(host.id.0);
        let started = host.start(self.now_us, &self.cluster, self.random.seed());
        self.trace.record(self.now_us, place, started.is_ok(), || match &started {
            Ok(()) => "starts".to_owned(),
            Err(error) => format!("does not start: {error}"),
        });
        if let Err(error) = started {
            return self.did_not_start(node, &error);
        }
        self.statistics.restarts += u64::from(!first);
        self.mark_start(node);
        self.hosts[node].note_log_writes();
        self.invariants.forget(self.hosts[node].id);
        self.forget_aside(self.hosts[node].id);
        self.note_known(node);
        self.publish(node)?;
        self.look_at(node)?;
        self.plan_turns(node);
        Ok(())
    }

    fn did_not_start(&mut self, node: usize, error: &ReplicaError) -> Result<(), Violation> {
        if self.last_act.is_some() {
            self.stopped_in_last_act(node);
            return Ok(());
        }
        let host = &mut self.hosts[node];
        if host.damaged && is_corruption(error) {
            self.statistics.corruptions_noticed += 1;
            // An operator leaves it at that, or has it begin anew.
            if self.random.chance(500) {
                self.hosts[node].retired = true;
            } else {
                self.replace_disk(node);
                self.start_later(node);
            }
            return Ok(());
        }
        ensure!(
            host.disk_in_trouble || host.is_halted(),
            StopsOnlyForCause,
            "node {} does not start: {error}",
            host.id
        );
        let crash = self.power_loss();
        self.hosts[node].crash(crash);
        self.start_later(node);
        Ok(())
    }

    /// Gives a node something for the group that every node is a member of.
    pub(crate) fn give(&mut self, node: usize, event: Event) -> Result<(), Violation> {
        self.arrive(node, Arrival::Event(GroupId::METADATA, event))
    }

    /// Gives a node an event.
    pub(crate) fn arrive(&mut self, node: usize, arrival: Arrival) -> Result<(), Violation> {
        if self.hosts[node].process.is_none() {
            return Ok(());
        }
        let resume_us = self.hosts[node].paused_until_us;
        if resume_us > self.now_us {
            let at_us = resume_us + self.random.between(0, RESUME_MAX_US);
            self.plan_due(at_us, node, Due::Take(arrival));
            return Ok(());
        }
        self.take(node, arrival)
    }

    fn take(&mut self, node: usize, arrival: Arrival) -> Result<(), Violation> {
        let turn = match arrival {
            Arrival::Event(group, event) => Turn::Handle(group, event),
            Arrival::PeerLost(peer) => Turn::PeerLost(peer),
        };
        self.take_turn(node, turn)
    }

    /// Something that a node planned in its present life is due.
    pub(crate) fn due(&mut self, node: usize, due: Due) -> Result<(), Violation> {
        let resume_us = self.hosts[node].paused_until_us;
        if resume_us > self.now_us {
            // Its threads go on in any order, but what has come is heard before more is applied.
            let within_us =
                if matches!(due, Due::Apply) { RESUME_MAX_US } else { self.random.between(0, RESUME_MAX_US) };
            let at_us = resume_us + within_us;
            self.plan_due(at_us, node, due);
            return Ok(());
        }
        let Some(process) = &mut self.hosts[node].process else { return Ok(()) };
        match due {
            Due::Wake { planned_us } => self.wake(node, planned_us),
            Due::Take(arrival) => self.take(node, arrival),
            Due::Flush => {
                process.flushing = false;
                self.statistics.flushes += 1;
                self.take_turn(node, Turn::Flush)
            }
            Due::FlushBeside { job, told_after_us } => self.flush_beside(node, job, told_after_us),
            Due::Flushed(flushed) => {
                process.flushing = false;
                self.statistics.flushes += 1;
                self.take_turn(node, Turn::Flushed(flushed))
            }
            Due::Apply => {
                process.applying = false;
                self.apply(node)
            }
            Due::Job(group, job) => self.run_job(node, group, job),
            Due::Read { ticket, grant, granted_us } => self.make_read(node, ticket, grant, granted_us),
        }
    }

    /// A turn of applying, during which the node hears and says nothing.
    fn apply(&mut self, node: usize) -> Result<(), Violation> {
        let (cost_us, turn_us) = (self.scenario.apply_cost_us, self.hosts[node].tuning.apply_turn_us());
        let entries_max = turn_us.checked_div(cost_us).map_or(u64::MAX, |entries| entries.max(1));
        let applied = |world: &Self| world.hosts[node].process.as_ref().map_or(0, Process::applied_count);
        let before = applied(self);
        self.take_turn(node, Turn::Apply { entries_max })?;
        let busy_us = applied(self).saturating_sub(before) * cost_us;
        ensure!(
            busy_us <= turn_us + cost_us,
            Liveness,
            "node {} applied for {busy_us} us without hearing anybody, and may for {turn_us}",
            self.hosts[node].id
        );
        let host = &mut self.hosts[node];
        host.paused_until_us = host.paused_until_us.max(self.now_us + busy_us);
        self.mark_backlog(node);
        self.nobody_waits_for_a_backlog(node)
    }

    /// The log is written; a crash may yet come before the node knows.
    fn flush_beside(&mut self, node: usize, job: FlushJob, told_after_us: u64) -> Result<(), Violation> {
        let flushed = job.run();
        if !self.goes_down_halted(node) {
            self.plan_due(self.now_us + told_after_us, node, Due::Flushed(flushed));
        }
        Ok(())
    }

    fn wake(&mut self, node: usize, planned_us: u64) -> Result<(), Violation> {
        let now = self.hosts[node].now(self.now_us);
        let Some(process) = &mut self.hosts[node].process else { return Ok(()) };
        if process.wake_at_us != Some(planned_us) {
            return Ok(());
        }
        process.wake_at_us = None;
        if process.groups.deadline(now).is_some_and(|deadline| deadline > now) {
            self.plan_turns(node);
            return Ok(());
        }
        self.take_turn(node, Turn::Wake)?;
        self.check_for_spinning(node)
    }

    fn check_for_spinning(&mut self, node: usize) -> Result<(), Violation> {
        let now = self.hosts[node].now(self.now_us);
        let Some(process) = &mut self.hosts[node].process else { return Ok(()) };
        let idle = process.groups.deadline(now).is_some_and(|deadline| deadline <= now);
        process.idle_wakes = if idle { process.idle_wakes + 1 } else { 0 };
        ensure!(
            process.idle_wakes < IDLE_WAKES_MAX,
            Liveness,
            "node {} wants to be woken again and again and does nothing",
            self.hosts[node].id
        );
        Ok(())
    }

    fn run_job(&mut self, node: usize, group: GroupId, job: SnapshotJob<KvMachine>) -> Result<(), Violation> {
        let done = job.run();
        if self.goes_down_halted(node) {
            self.marks.snapshots_cut_short += 1;
            return Ok(());
        }
        if let Event::JobDone(done) = &done {
            let place = Place::Node(self.hosts[node].id.0);
            self.trace.record(self.now_us, place, "job", || describe_job(done));
            self.mark_job(done);
            match done {
                JobDone::Written { result: Ok(_), .. } => self.statistics.snapshots_written += 1,
                JobDone::Completed { result: Ok(_), .. } => self.statistics.snapshots_installed += 1,
                JobDone::Written { result: Err(_), .. }
                | JobDone::Completed { result: Err(_), .. }
                | JobDone::Verified { .. } => {}
            }
        }
        self.take_turn(node, Turn::Handle(group, done))
    }

    /// One turn of a running node: the replica works, its outputs go out, its judges look.
    pub(crate) fn take_turn(&mut self, node: usize, turn: Turn) -> Result<(), Violation> {
        let now = self.hosts[node].now(self.now_us);
        let id = self.hosts[node].id;
        let Some(process) = &mut self.hosts[node].process else { return Ok(()) };
        let text = if self.trace.is_printed() { describe_turn(&turn) } else { String::new() };
        let before = Before::of(process.replica(), &turn);
        let mut outputs = Vec::new();
        let result = process.take_turn(now, turn, &mut outputs);
        let replica = process.replica();
        let raft = replica.raft();
        let facts = (raft.term(), raft.leader(), raft.commit(), replica.applied(), outputs.len());
        self.trace.record(self.now_us, Place::Node(id.0), facts, || {
            format!(
                "{text}  [term {} leader {:?} commit {} applied {}]",
                facts.0,
                facts.1.map(|l| l.0),
                facts.2,
                facts.3.index
            )
        });
        if self.goes_down_halted(node) {
            return Ok(());
        }
        if let Err(error) = result {
            if self.last_act.is_some() {
                // As the driver does.
                outputs.retain(|output| matches!(output, Output::Send(_)));
                self.send_out(node, outputs)?;
                self.stopped_in_last_act(node);
                return Ok(());
            }
            return self.stopped(node, &error);
        }
        self.mark_turn(node, before, &outputs);
        self.send_out(node, outputs)?;
        self.look_at(node)?;
        self.plan_turns(node);
        Ok(())
    }

    fn send_out(&mut self, node: usize, outputs: Vec<Output<KvMachine>>) -> Result<(), Violation> {
        for output in outputs {
            match output {
                Output::Send(message) => {
                    self.send(node, message)?;
                    if self.hosts[node].process.is_none() {
                        return Ok(());
                    }
                }
                Output::Published { group: GroupId::METADATA } => self.publish(node)?,
                Output::Published { .. } => {}
                Output::Proposed { ticket, result } => {
                    if !self.proposed_aside(ticket, result.as_ref().err()) {
                        self.proposed(node, ticket, result)?;
                    }
                }
                Output::ReadReady { ticket, result: Ok(grant) } => {
                    let at_us = self.now_us + self.random.between(0, READ_MAX_US);
                    self.plan_due(at_us, node, Due::Read { ticket, grant, granted_us: self.now_us });
                }
                Output::ReadReady { ticket, result: Err(error) } => self.read_refused(ticket, &error),
                Output::Run { group, job } => {
                    let at_us = self.now_us
                        + self.random.magnitude(100, self.election_timeout_us() * JOB_TIMEOUTS_MAX);
                    if self.work_random.chance(self.scenario.abandoned_per_mille) {
                        self.marks.jobs_abandoned += 1;
                        self.plan_due(at_us, node, Due::Take(Arrival::Event(group, job.abandoned())));
                    } else {
                        self.plan_due(at_us, node, Due::Job(group, job));
                    }
                }
                Output::SnapshotCreated { .. } | Output::LogCompacted { .. } => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, node: usize, message: PeerMessage) -> Result<(), Violation> {
        self.statistics.messages += 1;
        self.trace.remark(self.now_us, Place::Node(message.from().0), || {
            format!("  sends to {}{}", message.to(), describe_message(&message))
        });
        let is_aside = self.watch_aside(&message)?;
        // What its core says, if it is of the group that every node is a member of.
        let envelope = match &message {
            PeerMessage::Consensus(envelope) if !is_aside => Some(envelope),
            PeerMessage::Consensus(_) | PeerMessage::Replica(_) => None,
        };
        if let Some(envelope) = envelope {
            let judged = self.invariants.watch(envelope);
            self.forgiven(judged)?;
            self.chase(envelope);
        }
        let link = (node, place_of(message.to()));
        let arrivals = match self.is_starved(&message) {
            true => Vec::new(),
            false => self.network.arrivals(self.now_us, link, &mut self.random),
        };
        if !is_aside {
            self.mark_message(node, &message, arrivals.is_empty());
        }
        self.statistics.messages_lost += u64::from(arrivals.is_empty());
        self.statistics.messages_duplicated += u64::from(arrivals.len() > 1);
        for at_us in arrivals {
            self.plan(at_us, Happening::Arrive(message.clone()));
        }
        if let Some(envelope) = envelope {
            self.spring_power_trap(envelope);
            self.spring_vote_trap(envelope);
            self.spring_catch_up_trap(envelope);
        }
        Ok(())
    }

    /// Readers see the replica's newest version.
    fn publish(&mut self, node: usize) -> Result<(), Violation> {
        let Some(process) = &mut self.hosts[node].process else { return Ok(()) };
        let view = process.replica().view();
        let seen = std::mem::replace(&mut process.published, view);
        let compacted = process.published.compacted();
        self.marks.retentions_reached +=
            u64::from(compacted > seen.compacted() && compacted > self.history.compacted());
        let judged = self.events.absorb(&process.published, seen.revision());
        self.forgiven(judged)
    }

    fn plan_turns(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let now = host.now(self.now_us);
        let Some(process) = &mut host.process else { return };
        let (mut flush, mut apply, mut wake) = (None, None, None);
        if process.groups.needs_flush() && !process.flushing {
            let rewrites = process.groups.log_counters().rewrites;
            self.marks.logs_rewritten += rewrites - std::mem::replace(&mut process.rewrites, rewrites);
            self.marks.syncs_of_several_groups += u64::from(process.groups.unsynced_count() > 1);
            process.flushing = true;
            let sync_us = self.random.magnitude(50, self.scenario.sync_max_us) * host.sync_slowdown;
            flush = Some(if self.random.chance(FLUSHED_INLINE_PER_MILLE) {
                (self.now_us + sync_us, Due::Flush)
            } else {
                let told_after_us = self.random.between(0, sync_us);
                let job = process.groups.flush_job();
                (self.now_us + sync_us - told_after_us, Due::FlushBeside { job, told_after_us })
            });
        }
        if process.groups.needs_apply() && !process.applying {
            process.applying = true;
            apply = Some(self.now_us + self.random.between(0, APPLY_MAX_US));
        }
        if let Some(deadline) = process.groups.deadline(now) {
            let at_us = host.clock.when(deadline, self.now_us).max(self.now_us + WAKE_GAP_US);
            if process.wake_at_us.is_none_or(|planned| planned > at_us) {
                process.wake_at_us = Some(at_us);
                wake = Some(at_us);
            }
        }
        let wake = wake.map(|planned_us| (planned_us, Due::Wake { planned_us }));
        let apply = apply.map(|at_us| (at_us, Due::Apply));
        for (at_us, due) in [flush, apply, wake].into_iter().flatten() {
            self.plan_due(at_us, node, due);
        }
    }

    /// The replica can't go on. Right if its disk was made to fail, wrong otherwise.
    fn stopped(&mut self, node: usize, error: &ReplicaError) -> Result<(), Violation> {
        let host = &self.hosts[node];
        self.trace.remark(self.now_us, Place::Node(host.id.0), || format!("stops: {error}"));
        let for_cause = match error {
            ReplicaError::Storage(StorageError::Io { .. }) => host.disk_in_trouble,
            ReplicaError::Storage(StorageError::Corrupt { .. } | StorageError::RolledBack { .. })
            | ReplicaError::Restore { .. } => host.damaged,
            ReplicaError::Storage(
                StorageError::Foreign { .. } | StorageError::Locked(_) | StorageError::Mismatch(_),
            )
            | ReplicaError::EntriesLost { .. }
            | ReplicaError::IncarnationSuperseded { .. }
            | ReplicaError::Contradicted { .. }
            | ReplicaError::Diverged { .. } => false,
        };
        ensure!(for_cause, StopsOnlyForCause, "node {} stops: {error}", host.id);
        self.statistics.corruptions_noticed += u64::from(is_corruption(error));
        self.crash(node, Crash::ProcessOnly);
        Ok(())
    }

    fn goes_down_halted(&mut self, node: usize) -> bool {
        if !self.hosts[node].is_halted() {
            return false;
        }
        self.statistics.disk_halts += 1;
        let crash = self.power_loss();
        self.crash(node, crash);
        true
    }

    /// A node goes down, and comes back some time later.
    pub(crate) fn crash(&mut self, node: usize, crash: Crash) {
        let id = self.hosts[node].id;
        self.trace.record(self.now_us, Place::Node(id.0), "crash", || format!("goes down: {crash:?}"));
        let is_shared = crash != Crash::ProcessOnly && self.hosts[node].unsynced_groups() > 1;
        self.marks.power_lost_to_several_groups += u64::from(is_shared);
        let is_torn = self.hosts[node].crash(crash);
        self.marks.log_ends_torn += u64::from(is_torn);
        match crash {
            Crash::ProcessOnly => {
                self.statistics.kills += 1;
                // The operating system closes the connections of a process that ends.
                for other in 0..self.hosts.len() {
                    self.notice_lost_peer(other, node);
                }
            }
            Crash::LoseUnsynced | Crash::Torn { .. } => {
                self.statistics.power_losses += 1;
                self.hosts[node].clock.restart(self.now_us, &mut self.random);
            }
        }
        if self.scenario.faults.contains(&FaultKind::ReplacedDisk) && self.random.chance(DISK_LOST_PER_MILLE)
        {
            self.replace_disk(node);
        }
        self.forsake_clients(node);
        self.start_later(node);
    }

    fn start_later(&mut self, node: usize) {
        let down_us = self.random.magnitude(500, self.scenario.down_max_us);
        self.plan(self.now_us + down_us, Happening::Start(node));
    }

    pub(crate) fn notice_lost_peer(&mut self, node: usize, peer: usize) {
        if node != peer {
            let peer: NodeId = self.hosts[peer].id;
            let at_us = self.now_us + self.random.between(50, 2_000);
            self.plan(at_us, Happening::LosePeer { node, peer });
        }
    }
}

fn is_corruption(error: &ReplicaError) -> bool {
    match error {
        ReplicaError::Storage(
            StorageError::Corrupt { .. }
            | StorageError::Foreign { .. }
            | StorageError::RolledBack { .. }
            | StorageError::Mismatch(_),
        )
        | ReplicaError::Restore { .. } => true,
        ReplicaError::Storage(StorageError::Io { .. } | StorageError::Locked(_))
        | ReplicaError::EntriesLost { .. }
        | ReplicaError::IncarnationSuperseded { .. }
        | ReplicaError::Contradicted { .. }
        | ReplicaError::Diverged { .. } => false,
    }
}

fn describe_message(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Consensus(envelope) => format!(" in term {}: {:?}", envelope.term, envelope.message),
        PeerMessage::Replica(envelope) => format!(": {:?}", envelope.message),
    }
}

fn describe_turn(turn: &Turn) -> String {
    match turn {
        Turn::Handle(_, Event::Message(message)) => {
            format!("hears from {}{}", message.from(), describe_message(message))
        }
        Turn::Handle(_, Event::JobDone(_)) => "takes note of a finished job".to_owned(),
        Turn::Handle(_, event) => format!("handles {event:?}"),
        Turn::Wake => "is woken".to_owned(),
        Turn::PeerLost(peer) => format!("learns that the connection to {peer} broke"),
        Turn::Flush => "flushes".to_owned(),
        Turn::Flushed(_) => "learns that its log was flushed".to_owned(),
        Turn::Apply { .. } => "applies".to_owned(),
    }
}
