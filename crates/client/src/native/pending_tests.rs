#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ruvector_api::etcdserverpb as etcd;

use super::*;

/// Requests as a caller sees them, on one clock.
struct Fixture {
    pending: Pending,
    now: Instant,
}

type Reply = oneshot::Receiver<Result<pb::NativeResponse, ClientError>>;

impl Fixture {
    fn new() -> Self {
        Self { pending: Pending::new(Duration::from_millis(10)), now: Instant::now() }
    }

    /// A fixture whose session 7 is open.
    fn with_session() -> Self {
        let mut fixture = Self::new();
        drop(fixture.put("opens the session"));
        let frame = fixture.frame();
        fixture.answer(frame.requests[0].number, opened(7));
        let put = fixture.frame();
        fixture.answer(put.requests[0].number, done());
        fixture
    }

    fn put(&mut self, key: &'static str) -> Reply {
        let put = etcd::PutRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() };
        self.add(Effect::Write, Request::Put(put))
    }

    fn get(&mut self) -> Reply {
        self.add(Effect::Read, Request::Range(etcd::RangeRequest::default()))
    }

    fn add(&mut self, effect: Effect, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let deadline = self.now + Duration::from_secs(10);
        self.pending.add(Job { request, effect, deadline, reply });
        answer
    }

    fn frame(&mut self) -> pb::ClientFrame {
        self.pending.frame(self.now).unwrap()
    }

    fn answer(&mut self, number: u64, response: Response) {
        let endpoint = "127.0.0.1:1".parse().unwrap();
        let response = pb::NativeResponse { number, revision: 3, response: Some(response) };
        self.pending.answered(response, &endpoint, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.pending.wake(self.now);
    }
}

fn opened(session: u64) -> Response {
    Response::OpenSession(pb::OpenSessionResponse { session })
}

fn done() -> Response {
    Response::Put(etcd::PutResponse::default())
}

fn failed(code: Code, message: &str) -> Response {
    Response::Failure(pb::NativeFailure { code: code.into(), message: message.to_owned() })
}

fn numbers(frame: &pb::ClientFrame) -> Vec<u64> {
    frame.requests.iter().map(|request| request.number).collect()
}

fn error_of(reply: &mut Reply) -> ClientError {
    reply.try_recv().unwrap().unwrap_err()
}

#[test]
fn writes_wait_for_a_session_and_reads_do_not() {
    let mut fixture = Fixture::new();
    let (_put, _get) = (fixture.put("a"), fixture.get());
    let first = fixture.frame();
    assert!(matches!(first.requests[0].request, Some(Request::OpenSession(_))), "{first:?}");
    assert!(matches!(first.requests[1].request, Some(Request::Range(_))), "{first:?}");
    assert_eq!(first.requests.len(), 2);
    assert!(!fixture.pending.has_unsent());
    fixture.answer(first.requests[0].number, opened(7));
    let second = fixture.frame();
    assert_eq!((second.session, second.requests.len()), (7, 1));
}

#[test]
fn a_write_is_sent_again_under_its_number_when_the_connection_breaks() {
    let mut fixture = Fixture::with_session();
    let (mut one, mut two) = (fixture.put("one"), fixture.put("two"));
    let sent = fixture.frame();
    fixture.answer(sent.requests[1].number, done());
    two.try_recv().unwrap().unwrap();
    fixture.pending.disconnected("it broke");
    let again = fixture.frame();
    assert_eq!(numbers(&again), numbers(&sent)[..1]);
    assert_eq!((again.session, again.settled_below), (7, sent.requests[0].number));
    fixture.answer(again.requests[0].number, done());
    one.try_recv().unwrap().unwrap();
    let _get = fixture.get();
    assert!(fixture.frame().settled_below > numbers(&sent)[1], "everything is settled");
}

#[test]
fn what_was_surely_not_done_is_sent_again_later_and_told_as_such_in_the_end() {
    let mut fixture = Fixture::with_session();
    let mut put = fixture.put("a");
    let number = fixture.frame().requests[0].number;
    fixture.answer(number, failed(Code::ResourceExhausted, "etcdserver: too many requests"));
    assert!(!fixture.pending.has_unsent());
    fixture.pass(Duration::from_millis(10));
    assert_eq!(numbers(&fixture.frame()), [number]);
    fixture.answer(number, failed(Code::Unavailable, "etcdserver: no leader"));
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut put), ClientError::NoLeader { .. }));
}

#[test]
fn a_write_that_may_have_been_done_is_unknown_in_the_end_and_a_read_timed_out() {
    let mut fixture = Fixture::with_session();
    let (mut put, mut get) = (fixture.put("a"), fixture.get());
    let frame = fixture.frame();
    fixture.answer(frame.requests[0].number, failed(Code::Unavailable, "etcdserver: request timed out"));
    fixture.pass(Duration::from_secs(9));
    fixture.frame();
    fixture.pass(Duration::from_secs(1));
    assert!(matches!(error_of(&mut put), ClientError::OutcomeUnknown { .. }));
    assert!(matches!(error_of(&mut get), ClientError::TimedOut { .. }));
    assert!(fixture.pending.is_empty());
}

#[test]
fn a_write_under_way_at_its_deadline_is_unknown() {
    let mut fixture = Fixture::with_session();
    let (mut put, mut get) = (fixture.put("a"), fixture.get());
    fixture.frame();
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut put), ClientError::OutcomeUnknown { .. }));
    assert!(matches!(error_of(&mut get), ClientError::TimedOut { .. }));
}

#[test]
fn a_write_that_went_under_with_its_connection_is_unknown_though_it_was_not_sent_again() {
    let mut fixture = Fixture::with_session();
    let mut put = fixture.put("a");
    fixture.frame();
    fixture.pending.disconnected("it broke");
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut put), ClientError::OutcomeUnknown { .. }));
}

#[test]
fn a_write_that_waits_for_a_session_at_its_deadline_was_not_done() {
    let mut fixture = Fixture::new();
    let mut put = fixture.put("a");
    fixture.frame();
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut put), ClientError::TimedOut { .. }));
}

#[test]
fn a_write_that_was_never_sent_is_not_unknown() {
    let mut fixture = Fixture::with_session();
    let mut put = fixture.put("a");
    let error = ClientError::Unreachable { endpoints: "a:1".to_owned(), reason: "refused".to_owned() };
    fixture.pending.not_connected(&error);
    fixture.pass(Duration::from_secs(10));
    assert_eq!(error_of(&mut put), error);
}

#[test]
fn only_what_was_never_sent_is_given_up_when_nobody_can_be_reached() {
    let mut fixture = Fixture::with_session();
    let mut sent = fixture.put("sent");
    fixture.frame();
    fixture.pending.disconnected("it broke");
    let mut unsent = fixture.put("unsent");
    let error = ClientError::Unreachable { endpoints: "a:1".to_owned(), reason: "refused".to_owned() };
    fixture.pending.not_connected(&error);
    fixture.pending.fail_unsent(&error);
    assert_eq!(error_of(&mut unsent), error);
    assert_eq!(sent.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it may have been done");
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut sent), ClientError::OutcomeUnknown { .. }));
}

#[test]
fn a_session_that_has_ended_is_replaced_and_only_what_may_be_done_is_unknown() {
    let mut fixture = Fixture::with_session();
    let mut old = fixture.put("old");
    fixture.frame();
    fixture.pending.disconnected("it broke");
    let mut new = fixture.put("new");
    let sent = fixture.frame();
    for number in numbers(&sent) {
        fixture.answer(number, failed(Code::Aborted, "session 7 not found"));
    }
    assert!(matches!(error_of(&mut old), ClientError::OutcomeUnknown { .. }));
    let opening = fixture.frame();
    assert!(matches!(opening.requests[0].request, Some(Request::OpenSession(_))), "{opening:?}");
    fixture.answer(opening.requests[0].number, opened(8));
    let again = fixture.frame();
    assert_eq!(again.session, 8);
    assert!(again.requests[0].number > numbers(&sent)[1], "a number belongs to one session");
    fixture.answer(again.requests[0].number, done());
    new.try_recv().unwrap().unwrap();
}

#[test]
fn writes_that_get_no_session_are_refused_if_there_are_too_many_and_otherwise_wait() {
    let mut fixture = Fixture::new();
    let (mut put, opening) = (fixture.put("a"), fixture.frame().requests[0].number);
    fixture.answer(opening, failed(Code::Unavailable, "etcdserver: request timed out"));
    assert!(put.try_recv().is_err(), "it may get one yet");
    fixture.pass(Duration::from_secs(5));
    let opening = fixture.frame().requests[0].number;
    fixture.answer(opening, failed(Code::ResourceExhausted, "the client has 1000 sessions already"));
    let error = error_of(&mut put);
    assert!(matches!(&error, ClientError::Refused { reason } if reason.contains("1000")), "{error}");
}

#[test]
fn a_refusal_is_final() {
    let mut fixture = Fixture::with_session();
    let mut put = fixture.put("a");
    let number = fixture.frame().requests[0].number;
    fixture.answer(number, failed(Code::InvalidArgument, "etcdserver: key is not provided"));
    assert!(matches!(error_of(&mut put), ClientError::Refused { .. }));
}

#[test]
fn a_request_that_no_frame_can_hold_is_refused_and_hinders_no_other() {
    let mut fixture = Fixture::with_session();
    fixture.pending.set_frame_bytes_max(10_000);
    let large = |bytes| etcd::PutRequest { value: vec![0; bytes].into(), ..Default::default() };
    let mut refused = fixture.add(Effect::Write, Request::Put(large(10_000)));
    let _others = [6_000, 3_000, 2_000].map(|bytes| fixture.add(Effect::Write, Request::Put(large(bytes))));
    let (first, second) = (fixture.frame(), fixture.frame());
    assert!(matches!(error_of(&mut refused), ClientError::Refused { .. }));
    assert_eq!((first.requests.len(), second.requests.len()), (2, 1));
    assert!(first.encoded_len() <= 10_000, "{}", first.encoded_len());
}

#[test]
fn frames_are_bounded() {
    let mut fixture = Fixture::with_session();
    let replies: Vec<Reply> = (0..3000).map(|_| fixture.put("a")).collect();
    let sizes: Vec<usize> =
        std::iter::from_fn(|| fixture.pending.frame(fixture.now)).map(|frame| frame.requests.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), replies.len());
    assert!(sizes.iter().all(|size| *size <= FRAME_REQUESTS_MAX), "{sizes:?}");
    let large = etcd::PutRequest { value: vec![0; 200 << 10].into(), ..Default::default() };
    let _replies: Vec<Reply> =
        (0..3).map(|_| fixture.add(Effect::Write, Request::Put(large.clone()))).collect();
    assert_eq!(fixture.frame().requests.len(), 2, "the second fills the frame");
}

#[test]
fn each_request_is_given_up_at_its_own_time_in_whatever_order_they_came() {
    let mut fixture = Fixture::new();
    let began = fixture.now;
    let mut due_after = |seconds: u64| {
        let (reply, answer) = oneshot::channel();
        let request = Request::Range(etcd::RangeRequest::default());
        let deadline = began + Duration::from_secs(seconds);
        fixture.pending.add(Job { request, effect: Effect::Read, deadline, reply });
        answer
    };
    let mut replies = [3, 1, 2, 4, 1].map(|seconds| (seconds, due_after(seconds)));
    for passed in 1..=4 {
        assert_eq!(fixture.pending.next_wake(), Some(began + Duration::from_secs(passed)));
        fixture.pass(Duration::from_secs(1));
        for (seconds, reply) in &mut replies {
            let is_given_up = reply.try_recv() != Err(oneshot::error::TryRecvError::Empty);
            assert_eq!(is_given_up, *seconds <= passed, "the one of {seconds} s after {passed} s");
        }
    }
}

#[test]
fn deadlines_of_answered_requests_do_not_pile_up_behind_one_that_waits() {
    let mut fixture = Fixture::new();
    let mut waits = fixture.get();
    fixture.frame();
    for _ in 0..10 * DEADLINES_MIN {
        let mut reply = fixture.get();
        let number = fixture.frame().requests[0].number;
        fixture.answer(number, Response::Range(etcd::RangeResponse::default()));
        reply.try_recv().unwrap().unwrap();
        assert!(fixture.pending.deadlines.len() <= DEADLINES_MIN + 4);
    }
    fixture.pass(Duration::from_secs(10));
    assert!(matches!(error_of(&mut waits), ClientError::TimedOut { .. }));
    assert_eq!(fixture.pending.next_wake(), None);
}

const TOO_LARGE_ANSWER: &str =
    "Error, decoded message length too large: found 2 bytes, the limit is: 1 bytes";

fn break_by_size(fixture: &mut Fixture) {
    fixture.pending.too_large(&Status::out_of_range(TOO_LARGE_ANSWER), &"127.0.0.1:1".parse().unwrap());
    fixture.pending.disconnected("too large");
}

#[test]
fn an_answer_that_is_too_large_is_not_asked_for_again() {
    let mut fixture = Fixture::new();
    let mut get = fixture.get();
    fixture.frame();
    break_by_size(&mut fixture);
    assert!(matches!(error_of(&mut get), ClientError::TooLarge { .. }));
    assert!(fixture.pending.is_empty() && !fixture.pending.has_unsent());
}

#[test]
fn a_write_whose_answer_is_too_large_may_be_done() {
    let mut fixture = Fixture::with_session();
    let mut put = fixture.put("key");
    fixture.frame();
    break_by_size(&mut fixture);
    assert!(matches!(error_of(&mut put), ClientError::OutcomeUnknown { .. }));
    assert!(fixture.pending.is_empty());
}

#[test]
fn whose_answer_is_too_large_among_several_is_found_one_at_a_time() {
    let mut fixture = Fixture::new();
    let mut replies = [fixture.get(), fixture.get(), fixture.get()];
    let all = numbers(&fixture.frame());
    break_by_size(&mut fixture);
    let mut late = fixture.get();

    // The first was harmless.
    assert_eq!(numbers(&fixture.frame()), all[..1]);
    assert!(!fixture.pending.has_unsent(), "another beside it would be under suspicion again");
    fixture.answer(all[0], Response::Range(etcd::RangeResponse::default()));
    assert!(replies[0].try_recv().unwrap().is_ok());

    // The second was not, and costs the third and the new one nothing but another connection.
    assert!(fixture.pending.has_unsent());
    assert_eq!(numbers(&fixture.frame()), all[1..2]);
    break_by_size(&mut fixture);
    assert!(matches!(error_of(&mut replies[1]), ClientError::TooLarge { .. }));
    assert_eq!(numbers(&fixture.frame()), all[2..]);
    fixture.answer(all[2], Response::Range(etcd::RangeResponse::default()));
    assert!(replies[2].try_recv().unwrap().is_ok());
    let last = fixture.frame();
    fixture.answer(last.requests[0].number, Response::Range(etcd::RangeResponse::default()));
    assert!(late.try_recv().unwrap().is_ok());
}
