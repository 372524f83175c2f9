//! Sessions: what is sent again is applied once and gets the first answer.

use proptest::prelude::*;
use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::strategies::{Step, any_steps};
use crate::support::*;

/// A machine with one session, whose commands are numbered from 1.
struct InOneSession {
    fixture: Fixture,
    session: SessionId,
}

impl InOneSession {
    fn new() -> Self {
        let mut fixture = Fixture::default();
        let session = open(&mut fixture);
        Self { fixture, session }
    }

    fn send(&mut self, sequence: u64, settled_below: u64, command: &Command) -> Response {
        let place = InSession { session: self.session, sequence, settled_below };
        self.fixture.apply_bytes(place.encode(command))
    }
}

fn open(fixture: &mut Fixture) -> SessionId {
    let outcome = fixture.run(&Command::OpenSession);
    let Outcome::SessionOpened(session) = outcome else { panic!("{outcome:?}") };
    session
}

fn put_to(key: &str, value: &str) -> Command {
    Command::Put(put(key, value))
}

#[test]
fn a_command_that_comes_again_is_applied_once_and_gets_the_first_answer() {
    let mut client = InOneSession::new();
    let first = client.send(1, 1, &put_to("key", "one"));
    assert_eq!(first.result, Ok(Outcome::Put(PutResponse { prev_kv: None })));
    let other = client.send(2, 1, &put_to("key", "two"));
    let before = dump(&client.fixture.view());
    assert_eq!(client.send(1, 1, &put_to("key", "one")), first);
    assert_eq!(client.send(2, 1, &put_to("key", "two")), other);
    assert_eq!(dump(&client.fixture.view()), before);
}

#[test]
fn a_refusal_is_an_answer_like_any_other() {
    let mut client = InOneSession::new();
    let keep = Command::Put(PutRequest { ignore_value: true, ..put("key", "") });
    let refused = client.send(1, 1, &keep);
    assert_eq!(refused.result, Err(KvError::KeyNotFound));
    client.send(2, 1, &put_to("key", "there now"));
    assert_eq!(client.send(1, 1, &keep), refused, "it was refused, and stays so");
}

#[test]
fn a_settled_number_is_forgotten_and_never_applied_again() {
    let mut client = InOneSession::new();
    client.send(1, 1, &put_to("key", "one"));
    client.send(2, 2, &put_to("key", "two"));
    for settled in [0, 1] {
        let settled = client.send(settled, 1, &put_to("key", "late")).result.unwrap_err();
        assert!(matches!(settled, KvError::SessionCommandSettled { .. }), "{settled}");
    }
    assert_eq!(client.fixture.get("key").unwrap().value, "two");
}

#[test]
fn sessions_do_not_know_of_each_other_and_must_be_opened() {
    let mut client = InOneSession::new();
    client.send(1, 1, &put_to("key", "one"));
    let other = open(&mut client.fixture);
    assert_ne!(other, client.session);
    client.session = other;
    let second = client.send(1, 1, &put_to("key", "two"));
    assert!(matches!(second.result, Ok(Outcome::Put(PutResponse { prev_kv: Some(_) }))), "{second:?}");
    client.session = SessionId(other.0 + 1);
    let unknown = client.send(1, 1, &put_to("key", "three")).result.unwrap_err();
    assert_eq!(unknown, KvError::SessionNotFound(client.session));
    client.session = other;
    let inside = client.send(2, 1, &Command::OpenSession).result.unwrap_err();
    assert!(matches!(inside, KvError::UnknownCommand(_)), "{inside}");
}

#[test]
fn a_client_that_settles_nothing_is_refused_in_the_end() {
    let mut client = InOneSession::new();
    for sequence in 1..=SESSION_ANSWERS_MAX as u64 {
        client.send(sequence, 1, &put_to("key", "value")).result.unwrap();
    }
    let next = SESSION_ANSWERS_MAX as u64 + 1;
    let full = client.send(next, 1, &put_to("key", "value")).result.unwrap_err();
    assert_eq!(full, KvError::SessionFull(client.session));
    client.send(next, 2, &put_to("key", "value")).result.unwrap();
}

#[test]
fn large_answers_fill_a_session_too() {
    let mut client = InOneSession::new();
    let large = put_to("key", &"x".repeat(1 << 20));
    let answers = (1..100).take_while(|sequence| client.send(*sequence, 1, &large).result.is_ok());
    assert!((10..20).contains(&answers.count()));
}

#[test]
fn the_session_that_was_not_used_for_longest_is_ended_for_a_new_one() {
    let mut client = InOneSession::new();
    let (used, unused) = (client.session, open(&mut client.fixture));
    client.fixture.advance_time(1);
    client.send(1, 1, &put_to("key", "one"));
    for _ in 0..SESSIONS_MAX - 1 {
        open(&mut client.fixture);
    }
    client.session = unused;
    let ended = client.send(1, 1, &put_to("key", "two")).result.unwrap_err();
    assert_eq!(ended, KvError::SessionNotFound(unused));
    client.session = used;
    client.send(2, 1, &put_to("key", "two")).result.unwrap();
}

#[test]
fn a_machine_that_keeps_few_sessions_keeps_few_after_a_restore() {
    let mut client = InOneSession::new();
    client.fixture.machine = std::mem::take(&mut client.fixture.machine).with_sessions_max(2);
    let mut snapshot = Vec::new();
    KvMachine::write_snapshot(&client.fixture.view(), &mut snapshot).unwrap();
    client.fixture.machine.restore(&mut &snapshot[..]).unwrap();
    open(&mut client.fixture);
    client.send(1, 1, &put_to("key", "one")).result.unwrap();
    client.fixture.advance_time(1);
    for _ in 0..2 {
        open(&mut client.fixture);
    }
    let ended = client.send(2, 1, &put_to("key", "two")).result.unwrap_err();
    assert_eq!(ended, KvError::SessionNotFound(client.session));
}

#[test]
fn a_session_goes_on_from_a_snapshot() {
    let mut client = InOneSession::new();
    let first = client.send(1, 1, &put_to("key", "one"));
    let second = client.send(7, 1, &put_to("key", "two"));
    let mut copy = InOneSession { fixture: restored(&client.fixture), session: client.session };
    assert_eq!(copy.fixture.machine.state_hash(), client.fixture.machine.state_hash());
    assert_eq!(copy.send(1, 1, &put_to("key", "one")), first);
    assert_eq!(copy.send(7, 1, &put_to("key", "two")), second);
    let third = copy.send(8, 1, &put_to("key", "three"));
    assert_eq!(client.send(8, 1, &put_to("key", "three")), third);
    assert_eq!(open(&mut copy.fixture), SessionId(client.session.0 + 1));
}

proptest! {
    /// Whatever is repeated, at once or later, the state is that of commands sent once, and so is every answer.
    #[test]
    fn repetitions_change_nothing(
        steps in any_steps(),
        repeated in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize), 0..30),
    ) {
        let commands: Vec<&Step> = steps.iter().filter(|step| step.command.is_some()).collect();
        let mut plain = InOneSession::new();
        let mut tried = InOneSession::new();
        let mut answers = Vec::new();
        for (position, step) in commands.iter().enumerate() {
            let command = step.command.as_ref().expect("steps without one were left out");
            for client in [&mut plain, &mut tried] {
                client.fixture.time_ms += step.elapsed_ms;
            }
            let sequence = position as u64 + 1;
            answers.push(plain.send(sequence, 1, command));
            prop_assert_eq!(&tried.send(sequence, 1, command), &answers[position]);
            for (earlier, times) in &repeated {
                let earlier = earlier.index(commands.len());
                if earlier <= position && *times > 0 && (position - earlier) % times == 0 {
                    let command = commands[earlier].command.as_ref().expect("steps without one were left out");
                    prop_assert_eq!(&tried.send(earlier as u64 + 1, 1, command), &answers[earlier]);
                }
            }
        }
        prop_assert_eq!(dump(&tried.fixture.view()), dump(&plain.fixture.view()));
    }
}
