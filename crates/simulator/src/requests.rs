//! What clients ask for next.

use ruvector_node::replica::{Event, Ticket};
use ruvector_state_machine::kv::{Command, LeaseId, Retention, Revision};

use crate::clients::RETRY_US;
use crate::encoding::VALUE_LENGTHS;
use crate::linearizability::Value;
use crate::scenario::WriteKind;
use crate::trace::Place;
use crate::violation::Violation;
use crate::workload::{Freshness, Key, Request, Step, Txn};
use crate::world::{Happening, World};

/// How old a compacted revision must be at least.
const COMPACTION_DISTANCE: i64 = 50;
/// How many revisions clients look back at most.
const RECALL_DISTANCE_MAX: u64 = 200;
/// The most bytes that are added to a value beside others.
const SHORT_PADDING_MAX: u64 = 50;

impl World {
    /// What a client asks for next.
    pub(crate) fn next_request(&mut self, client: usize) -> Request {
        let settings = self.scenario.workload;
        let key = Key(self.random.index(settings.keys));
        if self.random.chance(settings.read_per_mille) {
            return self.next_read(key);
        }
        if settings.leases && self.random.chance(200) {
            return self.next_lease_request(client);
        }
        if settings.compactions && self.random.chance(20) {
            let revision = self.history.floor().0 - COMPACTION_DISTANCE;
            if revision > 0 {
                return Request::Compact(Revision(revision));
            }
        }
        self.next_write(client, key)
    }

    /// An operator asks some node that so much history be kept; what becomes of it is seen by what is compacted.
    pub(crate) fn retain(&mut self, retention: Retention) -> Result<(), Violation> {
        let up: Vec<usize> =
            (0..self.hosts.len()).filter(|node| self.hosts[*node].process.is_some()).collect();
        let Some(&node) = up.first() else {
            self.plan(self.now_us + RETRY_US, Happening::Retain(retention));
            return Ok(());
        };
        self.retention_asked |= retention != Retention::default();
        let ticket = Ticket(self.next_number());
        self.trace
            .record(self.now_us, Place::World, ticket.0, || format!("history is to be kept: {retention:?}"));
        self.give(node, Event::Propose(vec![(ticket, Command::SetRetention(retention).encode())]))
    }

    fn next_read(&mut self, key: Key) -> Request {
        let all = (0..self.scenario.workload.keys).map(Key);
        let keys = if self.random.chance(300) { all.collect() } else { vec![key] };
        if self.random.chance(50) {
            let back = self.random.magnitude(1, RECALL_DISTANCE_MAX).cast_signed();
            return Request::Recall { keys, at: Revision((self.history.floor().0 - back).max(1)) };
        }
        Request::Get { keys, level: self.next_level() }
    }

    fn next_write(&mut self, client: usize, key: Key) -> Request {
        let settings = self.scenario.workload;
        let expected = self.clients[client].belief(key);
        match self.random.weighted(&settings.writes) {
            WriteKind::Put => {
                let lease = self.clients[client].lease().filter(|_| self.random.chance(300));
                Request::put(&[(key, self.next_value())], lease)
            }
            WriteKind::PutTwo => {
                let other = Key((key.0 + 1) % settings.keys);
                let writes = [(key, self.next_value()), (other, self.next_short_value())];
                Request::put(&writes[..settings.keys.min(2)], None)
            }
            WriteKind::Delete => Request::Write(Txn { then: vec![Step::Delete(key)], ..Txn::default() }),
            WriteKind::Swap if expected.is_some() && self.random.chance(200) => {
                Request::swap(key, expected, None)
            }
            WriteKind::Swap => Request::swap(key, expected, Some(self.next_value())),
            WriteKind::Txn => Request::Write(Txn {
                compare: (0..self.random.between(0, 2)).map(|_| self.next_comparison(client)).collect(),
                then: self.next_steps(),
                otherwise: self.next_steps(),
            }),
        }
    }

    /// What a client believes that some key holds.
    fn next_comparison(&mut self, client: usize) -> (Key, Option<Value>) {
        let key = Key(self.random.index(self.scenario.workload.keys));
        (key, self.clients[client].belief(key))
    }

    /// A step for each of some keys.
    fn next_steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for key in (0..self.scenario.workload.keys).map(Key) {
            match self.random.between(0, 5) {
                0 | 1 => steps.push(Step::Put { key, value: self.next_short_value(), lease: None }),
                2 => steps.push(Step::Delete(key)),
                3 => steps.push(Step::Get(key)),
                _ => {}
            }
        }
        steps
    }

    fn next_level(&mut self) -> Freshness {
        match self.random.between(0, 9) {
            0..=4 => Freshness::Strong,
            5..=7 => Freshness::Lease,
            8 => Freshness::Stale(None),
            _ => Freshness::Stale(Some(self.random.magnitude(1, 2_000))),
        }
    }

    fn next_lease_request(&mut self, client: usize) -> Request {
        match self.clients[client].lease() {
            Some(lease) if self.random.chance(500) => Request::Renew(lease),
            Some(lease) if self.random.chance(300) => Request::Revoke(lease),
            Some(_) | None => {
                let lease = LeaseId(self.next_number().cast_signed());
                Request::Grant { lease, ttl_seconds: self.random.between(1, 2).cast_signed() }
            }
        }
    }

    fn next_value(&mut self) -> Value {
        self.next_value_up_to(self.scenario.workload.padding_max as u64)
    }

    /// Of these many fit into a command.
    fn next_short_value(&mut self) -> Value {
        self.next_value_up_to(SHORT_PADDING_MAX)
    }

    fn next_value_up_to(&mut self, padding_max: u64) -> Value {
        let padding = self.random.between(0, padding_max);
        Value(self.next_number() * VALUE_LENGTHS + padding)
    }
}
