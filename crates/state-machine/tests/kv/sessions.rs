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
    fixture.open_session(0).unwrap()
}

/// Whether a session is still there. Asking uses it.
fn is_open(fixture: &mut Fixture, session: SessionId) -> bool {
    let place = InSession { session, sequence: u64::MAX, settled_below: 0 };
    let answer = fixture.apply_bytes(place.encode(&Command::LeaseRenew { ids: vec![] }));
    answer.result != Err(KvError::SessionNotFound(session))
}

/// Fills a session with an answer of so many bytes.
fn remember(fixture: &mut Fixture, session: SessionId, sequence: u64, bytes: usize) -> Response {
    let key = format!("{bytes}");
    fixture.put(&key, &"x".repeat(bytes));
    let read = Command::Txn(always(vec![TxnOp::Range(get(&key))]));
    fixture.apply_bytes(InSession { session, sequence, settled_below: 0 }.encode(&read))
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
    let opening = Command::OpenSession { client: SessionClient(0) };
    let inside = client.send(2, 1, &opening).result.unwrap_err();
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
    let limits = StoreLimits { sessions_max: 3, session_idle_ms: 100, ..StoreLimits::default() };
    let mut fixture = Fixture::with_limits(limits);
    let [used, unused, other] = [1, 2, 3].map(|client| fixture.open_session(client).unwrap());
    fixture.advance_time(50);
    assert!(is_open(&mut fixture, used));
    fixture.advance_time(101);
    fixture.open_session(4).unwrap();
    assert!(!is_open(&mut fixture, unused));
    fixture.advance_time(200);
    fixture.open_session(5).unwrap();
    assert!(!is_open(&mut fixture, other));
    assert!(is_open(&mut fixture, used));
}

#[test]
fn a_client_that_opens_many_sessions_is_refused_more_and_ends_nobody_else_s() {
    let mut fixture = Fixture::default();
    let other = fixture.open_session(1).unwrap();
    let opened = (0..11_000).filter(|_| fixture.open_session(2).is_ok()).count();
    assert_eq!(opened, StoreLimits::default().sessions_per_client_max);
    assert_eq!(fixture.open_session(2), Err(KvError::TooManySessions { max: opened as u64 }));
    assert!(is_open(&mut fixture, other));
    fixture.open_session(3).unwrap();
}

#[test]
fn a_client_s_own_session_that_it_does_not_use_makes_room_for_another() {
    let limits = StoreLimits { sessions_per_client_max: 2, session_idle_ms: 100, ..StoreLimits::default() };
    let mut fixture = Fixture::with_limits(limits);
    let [other, first, second] = [1, 2, 2].map(|client| fixture.open_session(client).unwrap());
    fixture.advance_time(100);
    let full = fixture.open_session(2);
    assert_eq!(full, Err(KvError::TooManySessions { max: 2 }), "both were used a moment ago");
    assert!(is_open(&mut fixture, first));
    fixture.advance_time(101);
    let third = fixture.open_session(2).unwrap();
    assert_eq!(third, SessionId(4), "a refusal opens nothing");
    assert!(!is_open(&mut fixture, second));
    assert!([other, first, third].into_iter().all(|session| is_open(&mut fixture, session)));
}

#[test]
fn a_client_never_has_more_sessions_than_one_may_have() {
    let limits = StoreLimits { sessions_per_client_max: 2, session_idle_ms: 100, ..StoreLimits::default() };
    let mut fixture = Fixture::with_limits(limits);
    let mut sessions = Vec::new();
    for time_ms in [0, 200, 400, 600, 800] {
        fixture.advance_time(time_ms);
        sessions.push(fixture.open_session(1).unwrap());
        sessions.retain(|session| is_open(&mut fixture, *session));
        assert!(sessions.len() <= 2, "{sessions:?}");
    }
    assert_eq!(sessions.len(), 2);
}

#[test]
fn where_all_sessions_are_used_the_client_with_most_of_them_loses_one() {
    let mut fixture = Fixture::with_limits(StoreLimits { sessions_max: 4, ..StoreLimits::default() });
    let [one, first, second, three] = [1, 2, 2, 3].map(|client| fixture.open_session(client).unwrap());
    let four = fixture.open_session(4).unwrap();
    assert!(!is_open(&mut fixture, first));
    assert!([one, second, three, four].into_iter().all(|session| is_open(&mut fixture, session)));
}

#[test]
fn a_machine_that_keeps_few_sessions_keeps_few_after_a_restore() {
    let limits = StoreLimits { sessions_max: 2, session_idle_ms: 10, ..StoreLimits::default() };
    let mut fixture = Fixture::with_limits(limits);
    let [first, second] = [1, 2].map(|client| fixture.open_session(client).unwrap());
    fixture.advance_time(5);
    assert!(is_open(&mut fixture, first));
    let mut snapshot = Vec::new();
    KvMachine::write_snapshot(&fixture.view(), &mut snapshot).unwrap();
    fixture.machine.restore(&mut &snapshot[..]).unwrap();
    fixture.advance_time(12);
    fixture.open_session(3).unwrap();
    assert!(!is_open(&mut fixture, second));
    assert!(is_open(&mut fixture, first));
}

#[test]
fn answers_that_take_too_much_end_the_largest_session_and_then_count_no_more() {
    let limits = StoreLimits { sessions_bytes_max: 100_000, ..StoreLimits::default() };
    for is_restored in [false, true] {
        let mut fixture = Fixture::with_limits(limits);
        let [small, large, middle, last] = [1, 2, 2, 3].map(|client| fixture.open_session(client).unwrap());
        remember(&mut fixture, small, 1, 20_000);
        remember(&mut fixture, large, 1, 40_000);
        remember(&mut fixture, middle, 1, 28_000);
        if is_restored {
            fixture = restored(&fixture);
        }
        remember(&mut fixture, last, 1, 9_000);
        assert!([small, large, middle].into_iter().all(|session| is_open(&mut fixture, session)));
        remember(&mut fixture, last, 2, 9_000);
        assert!(!is_open(&mut fixture, large), "of the client whose answers take most");
        remember(&mut fixture, last, 3, 25_000);
        assert!([small, middle, last].into_iter().all(|session| is_open(&mut fixture, session)));
        remember(&mut fixture, last, 4, 10_000);
        assert!(!is_open(&mut fixture, middle));
    }
}

#[test]
fn settled_answers_take_no_room() {
    let limits = StoreLimits { sessions_bytes_max: 100_000, ..StoreLimits::default() };
    let mut fixture = Fixture::with_limits(limits);
    let [other, session] = [1, 2].map(|client| fixture.open_session(client).unwrap());
    remember(&mut fixture, other, 1, 60_000);
    fixture.put("large", &"x".repeat(30_000));
    let read = Command::Txn(always(vec![TxnOp::Range(get("large"))]));
    for sequence in 1..20 {
        let place = InSession { session, sequence, settled_below: sequence };
        fixture.apply_bytes(place.encode(&read)).result.unwrap();
        assert!(is_open(&mut fixture, other), "after {sequence}");
    }
    let place = InSession { session, sequence: 20, settled_below: 19 };
    fixture.apply_bytes(place.encode(&read)).result.unwrap();
    assert!(!is_open(&mut fixture, other));
}

#[test]
fn an_answer_that_is_larger_than_a_session_is_given_once_and_not_remembered() {
    let mut fixture = Fixture::default();
    let session = fixture.open_session(1).unwrap();
    let bytes = SESSION_BYTES_MAX as usize / 2;
    for key in ["a", "b", "c"] {
        fixture.put(key, &"x".repeat(bytes));
    }
    let command = always(vec![TxnOp::Put(put("done", "")), TxnOp::Range(range("a", "d"))]);
    let place = InSession { session, sequence: 1, settled_below: 1 };
    let send = |fixture: &mut Fixture| fixture.apply_bytes(place.encode(&Command::Txn(command.clone())));
    let first = send(&mut fixture);
    assert!(matches!(&first.result, Ok(Outcome::Txn(txn)) if txn.succeeded));
    let again = send(&mut fixture);
    let too_large = Err(KvError::SessionAnswerTooLarge { session, sequence: 1 });
    assert_eq!(again, Response { revision: first.revision, result: too_large });
    assert_eq!(fixture.get("done").unwrap().version, 1, "it was done once");
    let mut snapshot = Vec::new();
    KvMachine::write_snapshot(&fixture.view(), &mut snapshot).unwrap();
    assert!(snapshot.len() < 4 * bytes, "{} bytes", snapshot.len());
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
