//! Sessions, and the writes in them: the store answers each of these once, however often it comes.

use std::net::IpAddr;

use bytes::Bytes;
use ruvector_node::daemon::{Answers, Batch};
use ruvector_node::state_machine::kv::{Command, InSession, Response, SessionClient, SessionId};

use super::caller::Caller;
use super::error::{InvalidRequest, ServiceError};
use super::principal::Principal;

/// Writes of one caller that are proposed together, each with the caller's number for it.
pub(crate) struct SessionWrites {
    principal: Principal,
    /// Whom sessions are counted for that it opens.
    client: SessionClient,
    commands: Vec<(u64, Bytes)>,
}

impl SessionWrites {
    /// None yet.
    pub(crate) fn new(principal: Principal, client: SessionClient) -> Self {
        Self { principal, client, commands: Vec::new() }
    }

    /// Adds that a session is to be opened.
    pub(crate) fn open(&mut self, number: u64) -> Result<(), ServiceError> {
        let command = Command::OpenSession { client: self.client };
        self.principal.may_give(&command)?;
        self.commands.push((number, command.encode()));
        Ok(())
    }

    /// Adds a write in a session, under its number there.
    pub(crate) fn push(&mut self, place: InSession, command: &Command) -> Result<(), ServiceError> {
        if place.session == SessionId(0) {
            return Err(InvalidRequest::NoSession.into());
        }
        self.principal.may_give(command)?;
        self.commands.push((place.sequence, place.encode(command)));
        Ok(())
    }

    /// The commands, as they go to the log.
    pub(crate) fn into_commands(self) -> Vec<(u64, Bytes)> {
        self.commands
    }
}

impl Caller {
    /// Takes writes in sessions.
    pub(crate) fn session_writes(&self) -> SessionWrites {
        SessionWrites::new(self.principal.clone(), client_at(self.address))
    }

    /// Has writes committed and applied, if there are any. Each is answered by the channel.
    pub(crate) fn propose_in_session(
        &self,
        writes: SessionWrites,
        answers: impl FnOnce() -> Answers<Response>,
    ) {
        let commands = writes.into_commands();
        if !commands.is_empty() {
            self.handle.server_side().propose_batch(Batch { commands, answers: answers() });
        }
    }
}

/// Whom sessions opened from an address are counted for: a host, as far as it can be told from others. Of an IPv6
/// address that is the network, of 64 bits, within which one host can have any number of addresses.
fn client_at(address: IpAddr) -> SessionClient {
    match address.to_canonical() {
        IpAddr::V4(address) => SessionClient(address.to_ipv6_mapped().to_bits()),
        IpAddr::V6(address) => SessionClient(address.to_bits() >> 64 << 64),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_client_by_all_its_addresses_of_a_network() {
        let client = |address: &str| client_at(address.parse().expect("it is an address"));
        assert_eq!(client("10.1.2.3"), client("::ffff:10.1.2.3"));
        assert_ne!(client("10.1.2.3"), client("10.1.2.4"));
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("127.0.0.1"), SessionClient::default());
    }

    #[test]
    fn a_write_needs_a_session_and_opening_one_does_not() {
        let mut writes = SessionWrites::new(Principal::Everybody, SessionClient::default());
        let command = Command::LeaseRenew { ids: Vec::new() };
        let in_session =
            |session, sequence| InSession { session: SessionId(session), sequence, settled_below: 0 };
        assert_eq!(writes.push(in_session(0, 1), &command), Err(InvalidRequest::NoSession.into()));
        writes.open(2).unwrap();
        writes.push(in_session(7, 3), &command).unwrap();
        let numbers: Vec<u64> = writes.into_commands().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [2, 3]);
    }
}
