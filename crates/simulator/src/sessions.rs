//! Clients that write in sessions: they send a write again, at any node, until it is answered, and hold the store to it
//! that it was done once and is answered alike every time.
//!
//! The rules are those of the native client. A write that was sent may be done, unless its node said for certain that it
//! is not; it keeps its number. Told that there is no such session, a client gives up what may be done, and sends
//! everything else in a new one.

use ruvector_node::replica::{Event, Ticket};
use ruvector_node::{Applied, NodeError};
use ruvector_state_machine::kv::{Command, InSession, KvError, Outcome, Response, SessionClient, SessionId};

use crate::clients::RETRY_US;
use crate::history::OperationId;
use crate::trace::Place;
use crate::violation::{Rule, Violation, ensure};
use crate::workload::Request;
use crate::world::{Happening, World};

/// A client's session.
#[derive(Debug, Default)]
pub(crate) struct SessionUse {
    id: Option<SessionId>,
    /// The number of the write under way, or of the next one.
    sequence: u64,
    /// What it says that it has the answers to.
    settled_below: u64,
    /// How many sessions it has asked for.
    asked_for: u64,
    write: Option<Write>,
}

/// A write that a client has under way.
#[derive(Clone, Debug)]
struct Write {
    operation: OperationId,
    request: Request,
    /// What it waits for; nothing between two tries.
    asked: Option<Asked>,
    tries: u64,
    /// It was sent, and nobody said for certain that it was not done.
    may_be_done: bool,
    /// How many leaders there had been when it was first seen to be done without having been answered.
    done_under: Option<u64>,
    /// How it was answered; it is sent once more to see whether it is answered so again.
    first: Option<Response>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: Ticket,
    /// It is a new session that was asked for.
    opens: bool,
}

/// The shortest patience, in microseconds.
const PATIENCE_MIN_US: u64 = 2_000;
/// A client that tries again and again waits longer each time, up to so many times [`RETRY_US`].
const RETRY_FACTOR_MAX: u64 = 20;

impl SessionUse {
    /// Whether a write is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.write.is_some()
    }
}

impl World {
    /// A client begins to write something in its session.
    pub(crate) fn begin_in_session(&mut self, client: usize, request: Request) -> Result<(), Violation> {
        // Now and then a client comes back without its memory.
        let starts_anew = self.session_random.chance(20);
        let operation = self.history.begin(self.now_us, request.clone(), &self.events);
        let Some(session) = &mut self.clients[client].session else { return Ok(()) };
        if starts_anew {
            session.id = None;
        }
        session.write = Some(Write {
            operation,
            request,
            asked: None,
            tries: 0,
            may_be_done: false,
            done_under: None,
            first: None,
        });
        self.send_again(client)
    }

    /// A client sends its write, or asks for the session that it needs first.
    pub(crate) fn send_again(&mut self, client: usize) -> Result<(), Violation> {
        let node = match self.session_random.chance(500) {
            true => self.clients[client].node,
            false => self.session_random.index(self.hosts.len()),
        };
        let is_up = self.hosts[node].process.is_some();
        let Some(session) = &mut self.clients[client].session else { return Ok(()) };
        let Some(write) = session.write.as_mut().filter(|write| write.asked.is_none()) else { return Ok(()) };
        if !is_up {
            self.clients[client].node = self.session_random.index(self.hosts.len());
            self.plan(self.now_us + RETRY_US, Happening::SendAgain(client));
            return Ok(());
        }
        self.last_number += 1;
        let ticket = Ticket(self.last_number);
        let (sequence, settled_below) = (session.sequence, session.settled_below);
        let place = session.id.map(|session| InSession { session, sequence, settled_below });
        let command = match (place, write.request.command()) {
            (Some(place), Some(command)) => place.encode(&command),
            (_, _) => Command::OpenSession { client: session_client(client) }.encode(),
        };
        session.asked_for += u64::from(place.is_none());
        write.asked = Some(Asked { ticket, opens: place.is_none() });
        write.tries += 1;
        self.statistics.writes_repeated +=
            u64::from(place.is_some() && (write.may_be_done || write.first.is_some()));
        self.sessions_asked += u64::from(place.is_none());
        let facts = (sequence, settled_below, place.is_none());
        self.trace.record(self.now_us, Place::Client(client), facts, || {
            format!("asks node {} as {} in {place:?}: {:?}", node + 1, ticket.0, write.request)
        });
        self.clients[client].node = node;
        let patience_us =
            self.session_random.magnitude(PATIENCE_MIN_US, self.scenario.sessions.patience_max_us);
        self.plan(self.now_us + patience_us, Happening::LosePatience { client, ticket });
        self.give(node, Event::Propose(vec![(ticket, command)]))
    }

    /// A client has waited for long: what it asked for may be done, and it asks again.
    pub(crate) fn lose_patience(&mut self, client: usize, ticket: Ticket) -> Result<(), Violation> {
        if self.asked_in_session(ticket) != Some(client) {
            return Ok(());
        }
        self.note(client, "loses patience");
        self.unanswered_in_session(client, true);
        Ok(())
    }

    /// The node of a client went down.
    pub(crate) fn forsaken_in_session(&mut self, client: usize) {
        let write = self.clients[client].session.as_ref().and_then(|session| session.write.as_ref());
        if write.is_some_and(|write| write.asked.is_some()) {
            self.note(client, "loses its node");
            self.unanswered_in_session(client, true);
        }
    }

    /// Which client waits for this in its session.
    pub(crate) fn asked_in_session(&self, ticket: Ticket) -> Option<usize> {
        self.clients.iter().position(|client| {
            let write = client.session.as_ref().and_then(|session| session.write.as_ref());
            write.and_then(|write| write.asked).is_some_and(|asked| asked.ticket == ticket)
        })
    }

    /// The fate of what a client asked for in its session is known to its node.
    pub(crate) fn answered_in_session(
        &mut self,
        client: usize,
        result: Result<Applied<Response>, NodeError>,
    ) -> Result<(), Violation> {
        match result {
            Ok(applied) => self.applied_in_session(client, applied.response),
            Err(NodeError::OutcomeUnknown | NodeError::Stopped(_)) => {
                self.note(client, "unknown");
                self.unanswered_in_session(client, true);
                Ok(())
            }
            Err(
                NodeError::NoLeader
                | NodeError::TooBusy
                | NodeError::TooLarge { .. }
                | NodeError::TooStale { .. }
                | NodeError::Refused(_),
            ) => {
                self.note(client, "refused");
                self.unanswered_in_session(client, false);
                Ok(())
            }
        }
    }

    /// Nothing certain was answered, or that nothing was done: the client tries again.
    fn unanswered_in_session(&mut self, client: usize, may_be_done: bool) {
        let leaders = self.invariants.leader_count();
        let Some(write) = self.write_of(client) else { return };
        let opens = write.asked.take().is_some_and(|asked| asked.opens);
        write.may_be_done |= may_be_done && !opens;
        let (request, tries) = (write.request.clone(), write.tries);
        if request.values().any(|value| self.events.was_written(value))
            && let Some(write) = self.write_of(client)
        {
            write.done_under.get_or_insert(leaders);
        }
        let wait_us = self.session_random.between(0, RETRY_US * tries.min(RETRY_FACTOR_MAX));
        self.plan(self.now_us + wait_us, Happening::SendAgain(client));
    }

    fn write_of(&mut self, client: usize) -> Option<&mut Write> {
        self.clients[client].session.as_mut()?.write.as_mut()
    }

    /// The store answered.
    fn applied_in_session(&mut self, client: usize, response: Response) -> Result<(), Violation> {
        let Some(session) = &mut self.clients[client].session else { return Ok(()) };
        let Some(write) = session.write.as_mut() else { return Ok(()) };
        let opens = write.asked.take().is_some_and(|asked| asked.opens);
        match &response.result {
            Ok(Outcome::SessionOpened(id)) if opens => {
                (session.id, session.sequence, session.settled_below) = (Some(*id), 1, 1);
                self.statistics.sessions_opened += 1;
                self.send_again(client)
            }
            Err(KvError::SessionNotFound(_)) if !opens => self.session_forgotten(client),
            Err(KvError::TooManySessions { .. }) if opens => self.session_refused(client, &response),
            Err(KvError::SessionCommandSettled { .. } | KvError::SessionFull(_)) => {
                Err(misfit(&write.request, &response))
            }
            _ if opens => Err(misfit(&"a session", &response)),
            _ => match write.first.clone() {
                Some(first) => {
                    ensure!(
                        response == first,
                        AnswerFitsHistory,
                        "{:?} was answered {first:?}, and again {response:?}",
                        write.request
                    );
                    self.end_write(client);
                    Ok(())
                }
                None => self.first_answer(client, response),
            },
        }
    }

    /// Nobody knows the client's session any more.
    fn session_forgotten(&mut self, client: usize) -> Result<(), Violation> {
        let too_many = self.sessions_asked > self.scenario.limits.sessions_max as u64;
        ensure!(
            too_many || self.asked_for_too_many(client),
            AnswerFitsHistory,
            "a session is forgotten, and no more than {} were asked for",
            self.sessions_asked
        );
        self.marks.sessions_forgotten += 1;
        self.note(client, "its session is forgotten");
        let Some(session) = &mut self.clients[client].session else { return Ok(()) };
        session.id = None;
        let Some(write) = &session.write else { return Ok(()) };
        let is_answered = write.first.is_some();
        if write.may_be_done || is_answered {
            self.statistics.writes_unknown += u64::from(!is_answered);
            self.end_write(client);
        } else {
            self.unanswered_in_session(client, false);
        }
        Ok(())
    }

    /// The client has too many sessions. It tries again until one of them was not used for long.
    fn session_refused(&mut self, client: usize, response: &Response) -> Result<(), Violation> {
        if !self.asked_for_too_many(client) {
            return Err(misfit(&"a session", response));
        }
        self.marks.sessions_refused += 1;
        self.note(client, "is refused a session");
        self.unanswered_in_session(client, false);
        Ok(())
    }

    /// Whether a client has asked for more sessions than one may have.
    fn asked_for_too_many(&self, client: usize) -> bool {
        let asked_for = self.clients[client].session.as_ref().map_or(0, |session| session.asked_for);
        asked_for > self.scenario.limits.sessions_per_client_max as u64
    }

    /// A write is answered for the first time.
    fn first_answer(&mut self, client: usize, response: Response) -> Result<(), Violation> {
        let leaders = self.invariants.leader_count();
        let sends_again = self.session_random.chance(100);
        let Some(write) = self.write_of(client) else { return Ok(()) };
        let reply = write.request.reply(&response).ok_or_else(|| misfit(&write.request, &response))?;
        let (operation, request) = (write.operation, write.request.clone());
        let is_over_leader_change = write.done_under.is_some_and(|done_under| done_under < leaders);
        write.first = Some(response);
        self.marks.session_answers_over_leader_change += u64::from(is_over_leader_change);
        self.statistics.writes_answered += 1;
        self.answered(client, operation, &request, reply)?;
        if sends_again {
            self.plan(self.now_us, Happening::SendAgain(client));
        } else {
            self.end_write(client);
        }
        Ok(())
    }

    /// A client is done with its write, and thinks about the next.
    fn end_write(&mut self, client: usize) {
        let settles = self.session_random.chance(700);
        let Some(session) = &mut self.clients[client].session else { return };
        session.write = None;
        session.sequence += 1;
        if settles {
            session.settled_below = session.sequence;
        }
        self.think(client);
    }
}

/// Every client is one.
fn session_client(client: usize) -> SessionClient {
    SessionClient(client as u128)
}

fn misfit(asked: &impl std::fmt::Debug, response: &Response) -> Violation {
    Violation::new(Rule::AnswerFitsHistory, format!("{asked:?} was answered with {response:?}"))
}
