//! The clients of a world: each asks for one thing after another, through any node, and waits for its answer
//! as long as that node lives.

use std::collections::BTreeMap;

use ruvector_node::replica::{Event, ReadGrant, Ticket};
use ruvector_node::{Applied, NodeError};
use ruvector_state_machine::kv::{KvError, LeaseId, Response, Revision};

use crate::encoding::read;
use crate::history::OperationId;
use crate::linearizability::{Observation, Value};
use crate::sessions::SessionUse;
use crate::trace::Place;
use crate::violation::{Rule, Violation, ensure};
use crate::workload::{Action, Freshness, Key, Reply, Request};
use crate::world::{Happening, World};

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// What it waits for.
    waiting: Option<Waiting>,
    /// The node it asked last.
    pub(crate) node: usize,
    /// What it last saw in each key.
    seen: BTreeMap<Key, Option<Value>>,
    /// Its newest lease.
    lease: Option<LeaseId>,
    /// What it knows of its session, if it writes in one.
    pub(crate) session: Option<SessionUse>,
}

#[derive(Clone, Debug)]
struct Waiting {
    ticket: Ticket,
    operation: OperationId,
    request: Request,
}

/// How soon a client tries again that found its node down, in microseconds.
pub(crate) const RETRY_US: u64 = 5_000;

impl Client {
    /// A client that has done nothing yet.
    pub(crate) fn new(session: Option<SessionUse>) -> Self {
        Self { session, ..Self::default() }
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some() || self.session.as_ref().is_some_and(SessionUse::is_busy)
    }

    /// What it believes that a key holds.
    pub(crate) fn belief(&self, key: Key) -> Option<Value> {
        self.seen.get(&key).copied().flatten()
    }

    /// Its newest lease.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        self.lease
    }

    /// Whether it waits for a read at a node.
    pub(crate) fn reads_at(&self, node: usize) -> bool {
        self.node == node && self.waiting.as_ref().is_some_and(|waiting| waiting.request.as_read().is_some())
    }
}

impl World {
    /// A client does its next operation.
    pub(crate) fn act(&mut self, client: usize) -> Result<(), Violation> {
        if !self.clients_work || self.clients[client].is_waiting() {
            return Ok(());
        }
        if self.random.chance(300) {
            self.clients[client].node = self.random.index(self.hosts.len());
        }
        let node = self.clients[client].node;
        if self.hosts[node].process.is_none() {
            self.clients[client].node = self.random.index(self.hosts.len());
            self.plan(self.now_us + RETRY_US, Happening::Act(client));
            return Ok(());
        }
        let request = self.next_request(client);
        if self.clients[client].session.is_some() && request.is_for_session() {
            return self.begin_in_session(client, request);
        }
        self.ask(client, node, request)
    }

    /// A client asks a running node for something.
    pub(crate) fn ask(&mut self, client: usize, node: usize, request: Request) -> Result<(), Violation> {
        let ticket = Ticket(self.next_number());
        let operation = self.history.begin(self.now_us, request.clone(), &self.events);
        self.trace.record(self.now_us, Place::Client(client), &request, || {
            format!("asks node {} as {}: {request:?}", node + 1, ticket.0)
        });
        let event = match request.action() {
            Action::Read(level) => Event::Read(vec![(ticket, level.into())]),
            Action::Propose(command) => Event::Propose(vec![(ticket, command)]),
        };
        self.clients[client].node = node;
        self.clients[client].waiting = Some(Waiting { ticket, operation, request });
        self.give(node, event)
    }

    /// A command's fate is known to its node.
    pub(crate) fn proposed(
        &mut self,
        node: usize,
        ticket: Ticket,
        result: Result<Applied<Response>, NodeError>,
    ) -> Result<(), Violation> {
        if let Some(client) = self.asked_in_session(ticket) {
            return self.answered_in_session(client, result);
        }
        let Some((client, waiting)) = self.take_waiting(ticket) else { return Ok(()) };
        match result {
            Ok(applied) => {
                let reply = waiting.request.reply(&applied.response).ok_or_else(|| {
                    Violation::new(
                        Rule::AnswerFitsHistory,
                        format!("node {} answers {:?} with {applied:?}", node + 1, waiting.request),
                    )
                })?;
                self.statistics.writes_answered += 1;
                self.answered(client, waiting.operation, &waiting.request, reply)?;
            }
            Err(NodeError::OutcomeUnknown | NodeError::Stopped(_)) => {
                self.statistics.writes_unknown += 1;
                self.note(client, "unknown");
            }
            Err(
                NodeError::NoLeader
                | NodeError::TooBusy
                | NodeError::TooLarge { .. }
                | NodeError::TooStale { .. }
                | NodeError::Refused(_),
            ) => {
                self.statistics.writes_refused += 1;
                self.history.refuse(waiting.operation);
                self.note(client, "refused");
            }
        }
        self.think(client);
        Ok(())
    }

    /// A read was granted some time ago: the client's thread makes it on what its node has published by now.
    pub(crate) fn make_read(
        &mut self,
        node: usize,
        ticket: Ticket,
        grant: ReadGrant,
        granted_us: u64,
    ) -> Result<(), Violation> {
        let Some((client, waiting)) = self.take_waiting(ticket) else { return Ok(()) };
        let Some((keys, at)) = waiting.request.as_read() else { return Ok(()) };
        let host = &self.hosts[node];
        let Some(process) = &host.process else { return Ok(()) };
        let reply = read(&process.published, keys, at);
        // The lease is looked at after the read was made.
        if grant.lease_until.is_some_and(|until| host.now(self.now_us) >= until) {
            self.marks.lease_reads_too_late += 1;
            self.read_lost(client, &waiting, "came too late for its lease");
            return Ok(());
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return self.read_failed(client, &waiting, &error),
        };
        let reply = reply.ok_or_else(|| {
            Violation::new(Rule::AnswerFitsHistory, format!("{:?} sees what nobody wrote", waiting.request))
        })?;
        self.judge_staleness(&waiting.request, grant, granted_us, reply.revision)?;
        self.answered(client, waiting.operation, &waiting.request, reply)?;
        self.think(client);
        Ok(())
    }

    fn judge_staleness(
        &mut self,
        request: &Request,
        grant: ReadGrant,
        granted_us: u64,
        revision: Revision,
    ) -> Result<(), Violation> {
        match request {
            Request::Get { level: Freshness::Stale(max_staleness_ms), .. } => {
                self.statistics.stale_reads_answered += 1;
                let bounds = [grant.staleness_us, max_staleness_ms.map(|ms| ms * 1000)];
                for staleness_us in bounds.into_iter().flatten() {
                    let drift_us = staleness_us * self.scenario.tuning.clock_drift_ppm / 1_000_000;
                    self.history.check_staleness(granted_us, staleness_us + drift_us + 1, revision)?;
                }
            }
            Request::Recall { .. } => self.statistics.recalls_answered += 1,
            Request::Get { .. } => self.statistics.reads_answered += 1,
            Request::Write(_)
            | Request::Grant { .. }
            | Request::Renew(_)
            | Request::Revoke(_)
            | Request::Compact(_) => {}
        }
        Ok(())
    }

    /// A read of a revision that a node does not have: compacted because somebody asked for that, or not there yet.
    fn read_failed(&mut self, client: usize, waiting: &Waiting, error: &KvError) -> Result<(), Violation> {
        let Request::Recall { at, .. } = waiting.request else {
            return Err(Violation::new(Rule::AnswerFitsHistory, format!("{:?}: {error}", waiting.request)));
        };
        let may_be = at < self.history.compacted() || self.retention_asked;
        let is_compacted = may_be && matches!(error, KvError::Compacted { compacted, .. } if at < *compacted);
        let is_future = matches!(error, KvError::FutureRevision { current, .. } if at > *current);
        ensure!(is_compacted || is_future, AnswerFitsHistory, "{:?} was refused: {error}", waiting.request);
        self.marks.recalls_of_compacted += u64::from(is_compacted);
        self.marks.recalls_of_future += u64::from(is_future);
        self.read_lost(client, waiting, "the revision is not there");
        Ok(())
    }

    /// A read can't be made.
    pub(crate) fn read_refused(&mut self, ticket: Ticket, error: &NodeError) {
        if let Some((client, waiting)) = self.take_waiting(ticket) {
            self.marks.stale_reads_refused += u64::from(matches!(error, NodeError::TooStale { .. }));
            self.read_lost(client, &waiting, &error.to_string());
        }
    }

    fn read_lost(&mut self, client: usize, waiting: &Waiting, why: &str) {
        self.statistics.reads_refused += 1;
        self.history.refuse(waiting.operation);
        self.note(client, why);
        self.think(client);
    }

    /// A node went down: what it was asked for stays unknown.
    pub(crate) fn forsake_clients(&mut self, node: usize) {
        for client in 0..self.clients.len() {
            if self.clients[client].node != node {
                continue;
            }
            self.forsaken_in_session(client);
            if let Some(waiting) = self.clients[client].waiting.take() {
                if waiting.request.as_read().is_some() {
                    self.statistics.reads_refused += 1;
                } else {
                    self.statistics.writes_unknown += 1;
                }
                self.note(client, "loses its node");
                self.think(client);
            }
        }
    }

    pub(crate) fn answered(
        &mut self,
        client: usize,
        operation: OperationId,
        request: &Request,
        reply: Reply,
    ) -> Result<(), Violation> {
        self.trace.record(self.now_us, Place::Client(client), reply.revision.0, || {
            format!("is answered {request:?}: {reply:?}")
        });
        self.learn(client, request, &reply);
        self.history.answer(self.now_us, operation, reply, &self.events)
    }

    fn learn(&mut self, client: usize, request: &Request, reply: &Reply) {
        let seen = &mut self.clients[client].seen;
        if let Request::Recall { .. } = request {
            return;
        }
        for (key, observation) in &reply.observations {
            if let Observation::Held(value) = observation {
                seen.insert(*key, *value);
            }
        }
        for change in reply.changes(request).unwrap_or_default() {
            seen.insert(change.key, change.value);
        }
        match request {
            Request::Grant { lease, .. } if reply.lease_lives => {
                self.statistics.leases_granted += 1;
                self.clients[client].lease = Some(*lease);
            }
            Request::Renew(_) if !reply.lease_lives => self.clients[client].lease = None,
            Request::Grant { .. }
            | Request::Renew(_)
            | Request::Revoke(_)
            | Request::Write(_)
            | Request::Get { .. }
            | Request::Recall { .. }
            | Request::Compact(_) => {}
        }
    }

    fn take_waiting(&mut self, ticket: Ticket) -> Option<(usize, Waiting)> {
        let waits = |client: &Client| client.waiting.as_ref().is_some_and(|w| w.ticket == ticket);
        let client = self.clients.iter().position(waits)?;
        self.clients[client].waiting.take().map(|waiting| (client, waiting))
    }

    pub(crate) fn think(&mut self, client: usize) {
        let think_us = self.random.between(0, self.scenario.workload.think_max_us);
        self.plan(self.now_us + think_us, Happening::Act(client));
    }

    pub(crate) fn note(&mut self, client: usize, what: &str) {
        self.trace.record(self.now_us, Place::Client(client), what, || format!("is told: {what}"));
    }

    /// Every client must have been answered by now.
    pub(crate) fn nobody_waits(&self) -> Result<(), Violation> {
        for (number, client) in self.clients.iter().enumerate() {
            ensure!(!client.is_waiting(), Liveness, "client {number} still waits: {client:?}");
        }
        Ok(())
    }
}
