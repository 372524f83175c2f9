use super::*;

fn write(history: &mut History, at_us: u64, value: u64) -> OperationId {
    history.begin(at_us, Request::put(&[(Key(0), Value(value))], None), &EventLog::default())
}

fn reply(revision: i64) -> Reply {
    Reply { revision: Revision(revision), succeeded: true, ..Reply::default() }
}

#[test]
fn a_write_lies_behind_what_was_answered_before_it() {
    let (mut history, events) = (History::default(), EventLog::default());
    let first = write(&mut history, 0, 1);
    assert_eq!(history.answer(1, first, reply(5), &events), Ok(()));
    let second = write(&mut history, 2, 2);
    let violation = history.answer(3, second, reply(5), &events).expect_err("the revision is taken");
    assert_eq!(violation.rule, Rule::RealTimeOrder);
}

#[test]
fn operations_that_overlap_may_be_answered_in_any_order() {
    let (mut history, events) = (History::default(), EventLog::default());
    let operations = [write(&mut history, 0, 1), write(&mut history, 0, 2)];
    assert_eq!(history.answer(1, operations[0], reply(6), &events), Ok(()));
    assert_eq!(history.answer(2, operations[1], reply(5), &events), Ok(()));
}

#[test]
fn a_stale_read_is_held_to_its_bound() {
    let (mut history, events) = (History::default(), EventLog::default());
    let operation = write(&mut history, 0, 1);
    assert_eq!(history.answer(1_000, operation, reply(5), &events), Ok(()));
    assert_eq!(history.check_staleness(3_000, 2_500, Revision(1)), Ok(()));
    let violation = history.check_staleness(3_000, 1_500, Revision(4)).expect_err("it is too old");
    assert_eq!(violation.rule, Rule::BoundedStaleness);
    assert_eq!(history.check_staleness(3_000, 1_500, Revision(5)), Ok(()));
}

#[test]
fn a_read_that_misses_an_answered_write_is_no_linearizable_history() {
    let (mut history, events) = (History::default(), EventLog::default());
    let operation = write(&mut history, 0, 1);
    assert_eq!(history.answer(1, operation, reply(2), &events), Ok(()));
    let get = Request::Get { keys: vec![Key(0)], level: Freshness::Strong };
    let read = history.begin(2, get, &events);
    let missed = Reply { observations: vec![(Key(0), Observation::Held(None))], ..reply(2) };
    assert_eq!(history.answer(3, read, missed, &events), Ok(()));
    let violation = history.check(&events, 0).expect_err("the write was answered");
    assert_eq!(violation.rule, Rule::Linearizability);
}
