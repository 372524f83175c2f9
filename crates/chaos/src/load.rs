//! Clients that write all the time and read half of it, at a bounded rate, and remember what they were told.
//!
//! They read in every way that there is to have the newest, in both dialects and through every node: a rule that holds reads
//! back until they are not stale stands in each of these ways by itself, so each could be broken alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ruvector_client::{
    Client, ClientError, ClientOptions, Comparison, GetOptions, KeyValue, Operation, OperationAnswer,
    Protocol, PutOptions, ReadLevel, Relation, Target, Transaction,
};
use ruvector_simulator::linearizability::{Action, Observation, Value};
use ruvector_simulator::random::Random;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::{client_options, endpoint};
use crate::group::Group;
use crate::history::{Outcome, Read, Recorded, Way};
use crate::key::Key;
use crate::network::{NODES, Place};

/// How many clients there are, each with one operation at a time: for each node one that goes elsewhere when the node
/// is in trouble, and two that stay with it, one for each dialect. Those read also under the leader's lease: a node that
/// believes itself to be in charge when it no longer is tells it only to those who stay.
const CLIENTS: usize = 3 * NODES;
/// How many keys they share in a round.
const KEYS: u64 = 4;
/// How long a client rests between two operations, in milliseconds: this bounds the rate.
const REST_MS: (u64, u64) = (5, 25);
/// How many operations of ten are reads, in a round with reads.
const READS_IN_TEN: u64 = 4;
/// The same of clients that stay with a node, which have more ways to read.
const READS_IN_TEN_OF_STAYING: u64 = 6;
/// Values of a client are above this times its number, so that all values differ.
const VALUES: u64 = 1_000_000_000;

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    group: Group,
    stopping: Arc<AtomicBool>,
    round: Arc<AtomicU32>,
    clients: Vec<JoinHandle<Result<Vec<Recorded>>>>,
}

impl Load {
    /// Starts the clients of a group. `clock` gives the times of the history, `seed` what they ask for.
    pub fn start(runtime: &Runtime, group: Group, clock: Instant, seed: u64) -> Self {
        let (stopping, round) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut seeds = Random::new(seed);
        let clients = (0..CLIENTS)
            .map(|number| {
                let (stopping, round) = (Arc::clone(&stopping), Arc::clone(&round));
                let random = Random::new(seeds.seed());
                runtime.spawn(async move {
                    Worker::new(number, group, clock, random)?.work(&stopping, &round).await
                })
            })
            .collect();
        Self { group, stopping, round, clients }
    }

    /// Goes on with other keys.
    pub fn next_round(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the work and adds one last write, which lies behind all others. Gives everything by time of invocation, and the
    /// revision of the last.
    ///
    /// # Errors
    /// If a client gave up, or the last write is not acknowledged.
    pub fn finish(self, runtime: &Runtime, clock: Instant) -> Result<(Vec<Recorded>, i64)> {
        self.stopping.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for client in self.clients {
            history.extend(runtime.block_on(client).context("a client panicked")??);
        }
        let last_round = self.round.load(Ordering::Relaxed) + 1;
        let last = runtime.block_on(async {
            Worker::new(CLIENTS, self.group, clock, Random::new(0))?
                .write_until_acknowledged(last_round)
                .await
        })?;
        let revision = last.last().and_then(Recorded::acknowledged).map(|(_, revision)| revision);
        history.extend(last);
        history.sort_by_key(|recorded| recorded.invoked);
        Ok((history, revision.context("the last write was not acknowledged")?))
    }
}

struct Worker {
    number: usize,
    client: Client,
    protocol: Protocol,
    /// The only node that it asks.
    stays_with: Option<Place>,
    clock: Instant,
    random: Random,
    written: u64,
    /// Reads to be made next, since something was not answered: a node that is cut off should not answer them either.
    due: Vec<Way>,
    /// What each key of the round was last known to hold.
    known: BTreeMap<Key, Option<Value>>,
    history: Vec<Recorded>,
}

impl Worker {
    fn new(number: usize, group: Group, clock: Instant, random: Random) -> Result<Self> {
        let (protocol, stays_with) = (protocol_of(number), place_of(number));
        let mut places: Vec<Place> = Place::all().collect();
        places.rotate_left(number % NODES);
        places.retain(|place| stays_with.is_none_or(|only| only == *place));
        let endpoints: Vec<String> = places.into_iter().map(endpoint).collect();
        let options = ClientOptions { protocol, ..client_options(group) };
        let client = Client::new(endpoints.iter().map(String::as_str), options)?;
        let (due, known, history) = (Vec::new(), BTreeMap::new(), Vec::new());
        Ok(Self { number, client, protocol, stays_with, clock, random, written: 0, due, known, history })
    }

    async fn work(mut self, stopping: &AtomicBool, round: &AtomicU32) -> Result<Vec<Recorded>> {
        while !stopping.load(Ordering::Relaxed) {
            let number = u32::try_from(self.random.between(0, KEYS - 1))?;
            let key = Key { round: round.load(Ordering::Relaxed), number };
            let (action, way) = self.draw(key);
            self.perform(key, action, way).await?;
            let rest = self.random.between(REST_MS.0, REST_MS.1);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
        Ok(self.history)
    }

    async fn write_until_acknowledged(mut self, round: u32) -> Result<Vec<Recorded>> {
        const ATTEMPTS_MAX: usize = 30;
        for _ in 0..ATTEMPTS_MAX {
            let value = self.next_value();
            self.perform(Key { round, number: 0 }, Action::Put { value, lease: None }, None).await?;
            if self.history.last().and_then(Recorded::acknowledged).is_some() {
                break;
            }
        }
        Ok(self.history)
    }

    /// What to do next, and how if it is a read. In every other round nobody reads: nodes that nobody reads from sync their log
    /// in another way.
    fn draw(&mut self, key: Key) -> (Action, Option<Way>) {
        let stays = self.stays_with.is_some();
        let reads_in_ten = match key.round.is_multiple_of(2) {
            true if stays => READS_IN_TEN_OF_STAYING,
            true => READS_IN_TEN,
            false => 0,
        };
        if reads_in_ten > 0
            && let Some(way) = self.due.pop()
        {
            return (Action::Get, Some(way));
        }
        if self.random.between(0, 9) < reads_in_ten {
            return (Action::Get, Some(self.draw_way()));
        }
        let action = if self.random.chance(500) {
            Action::Put { value: self.next_value(), lease: None }
        } else {
            let expected = self.known.get(&key).copied().flatten();
            Action::CompareAndSwap { expected, new: Some(self.next_value()) }
        };
        (action, None)
    }

    /// How the next read is made. Under the lease answers the leader itself, which only those who stay are sure to ask when it is
    /// one no more.
    fn draw_way(&mut self) -> Way {
        match self.random.between(0, 5) {
            0..=3 if self.stays_with.is_some() => Way::Lease,
            0 | 2 | 4 => Way::Get,
            _ => Way::Transaction,
        }
    }

    fn next_value(&mut self) -> Value {
        self.written += 1;
        Value(self.number as u64 * VALUES + self.written)
    }

    async fn perform(&mut self, key: Key, action: Action, way: Option<Way>) -> Result<()> {
        let invoked = self.clock.elapsed();
        let answer = self.ask(&key.to_string(), action, way).await;
        let ended = self.clock.elapsed();
        let outcome = match answer {
            Ok((observation, revision)) => Outcome::Answered { observation, revision },
            Err(error) => outcome_of(&error)?,
        };
        if let Outcome::Answered { observation: Observation::Held(held), .. } = outcome {
            self.known.insert(key, held);
        }
        let is_answered = matches!(outcome, Outcome::Answered { .. });
        if self.stays_with.is_some() && !is_answered && way.is_none_or(|way| way == Way::Lease) {
            self.due = vec![Way::Get, Way::Transaction];
        }
        let read = way.map(|way| Read { protocol: self.protocol, place: self.stays_with, way });
        let recorded = Recorded { client: self.number, key, action, read, invoked, ended, outcome };
        if let Some((value, _)) = recorded.acknowledged() {
            self.known.insert(key, Some(value));
        }
        self.history.push(recorded);
        Ok(())
    }

    async fn ask(
        &self,
        key: &str,
        action: Action,
        way: Option<Way>,
    ) -> Result<(Observation, i64), ClientError> {
        let key = key.to_owned();
        match action {
            Action::Put { value, .. } => {
                let answer = self.client.put(key, value.0.to_string(), PutOptions::default()).await?;
                Ok((Observation::Nothing, answer.revision))
            }
            Action::CompareAndSwap { expected, new: Some(new) } => self.swap(key, expected, new).await,
            Action::Get => self.read(key, way.unwrap_or(Way::Get)).await,
            Action::CompareAndSwap { new: None, .. } | Action::Delete | Action::EndLease { .. } => {
                unreachable!("no worker draws {action:?}")
            }
        }
    }

    async fn read(&self, key: String, way: Way) -> Result<(Observation, i64), ClientError> {
        match way {
            Way::Get => {
                let answer = self.client.get(key, GetOptions::default()).await?;
                Ok((held(answer.key_values.first())?, answer.revision))
            }
            Way::Transaction => {
                let then = vec![Operation::Get(key.into(), GetOptions::default())];
                let transaction = Transaction { then, ..Transaction::default() };
                let answer = self.client.transact(transaction).await?;
                match answer.operations.first() {
                    Some(OperationAnswer::Get(found)) => {
                        Ok((held(found.key_values.first())?, answer.revision))
                    }
                    Some(OperationAnswer::Put(_) | OperationAnswer::Delete(_)) | None => {
                        Err(malformed(format!("{answer:?}")))
                    }
                }
            }
            Way::Lease => {
                let answer = self.client.read(key, ReadLevel::Lease).await?;
                Ok((held(answer.key_value.as_ref())?, answer.revision))
            }
        }
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Value>,
        new: Value,
    ) -> Result<(Observation, i64), ClientError> {
        let target = match expected {
            Some(value) => Target::Value(value.0.to_string().into()),
            // A key that does not exist has version 0.
            None => Target::Version(0),
        };
        let comparison = Comparison { key: key.clone().into(), target, relation: Relation::Equal };
        let write = Operation::Put(key.clone().into(), new.0.to_string().into(), PutOptions::default());
        let read = Operation::Get(key.into(), GetOptions::default());
        let transaction =
            Transaction { comparisons: vec![comparison], then: vec![write], otherwise: vec![read] };
        let answer = self.client.transact(transaction).await?;
        match answer.operations.first() {
            Some(OperationAnswer::Put(_)) if answer.succeeded => {
                Ok((Observation::Held(expected), answer.revision))
            }
            Some(OperationAnswer::Get(found)) if !answer.succeeded => {
                Ok((held(found.key_values.first())?, answer.revision))
            }
            Some(OperationAnswer::Put(_) | OperationAnswer::Get(_) | OperationAnswer::Delete(_)) | None => {
                Err(malformed(format!("{answer:?}")))
            }
        }
    }
}

/// What a client speaks. Of the two that stay with a node one speaks etcd's API, and one the native protocol.
fn protocol_of(number: usize) -> Protocol {
    if number.is_multiple_of(2) { Protocol::Native } else { Protocol::Etcd }
}

/// The node that a client stays with, if it does.
fn place_of(number: usize) -> Option<Place> {
    (NODES..CLIENTS).contains(&number).then_some(Place(number % NODES))
}

fn held(found: Option<&KeyValue>) -> Result<Observation, ClientError> {
    let Some(found) = found else { return Ok(Observation::Held(None)) };
    let value = std::str::from_utf8(&found.value).ok().and_then(|value| value.parse().ok());
    let value = value.ok_or_else(|| malformed(format!("{found:?} was never written")))?;
    Ok(Observation::Held(Some(Value(value))))
}

fn malformed(reason: String) -> ClientError {
    ClientError::Malformed { reason }
}

/// What an error says of the operation.
///
/// # Errors
/// If no node should ever answer so, whatever its troubles.
fn outcome_of(error: &ClientError) -> Result<Outcome> {
    match error {
        ClientError::Unreachable { .. } | ClientError::NoLeader { .. } | ClientError::Busy { .. } => {
            Ok(Outcome::Failed)
        }
        ClientError::OutcomeUnknown { .. } | ClientError::TimedOut { .. } => Ok(Outcome::Unknown),
        ClientError::InvalidEndpoint { .. }
        | ClientError::NoEndpoints
        | ClientError::Compacted { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Refused { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Malformed { .. } => {
            Err(error.clone()).context("a client got an answer that makes no sense")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn somebody_who_stays_with_each_node_speaks_each_dialect() {
        let stays = |number| place_of(number).map(|place| (place, protocol_of(number) == Protocol::Native));
        let ways: BTreeSet<_> = (0..CLIENTS).filter_map(stays).collect();
        assert_eq!(ways.len(), 2 * NODES);
    }
}
