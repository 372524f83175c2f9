use super::*;

const KEY: Key = Key { round: 0, number: 0 };

fn recorded(action: Action, from: u64, to: u64, outcome: Outcome) -> Recorded {
    let (invoked, ended) = (Duration::from_millis(from), Duration::from_millis(to));
    let read = Read { protocol: Protocol::Etcd, place: Some(Place(1)), way: Way::Get };
    let read = (action == Action::Get).then_some(read);
    Recorded { client: 0, key: KEY, action, read, invoked, ended, outcome }
}

fn put(value: u64, from: u64, outcome: Outcome) -> Recorded {
    recorded(Action::Put { value: Value(value), lease: None }, from, from + 1, outcome)
}

fn acknowledged(revision: i64) -> Outcome {
    Outcome::Answered { observation: Observation::Nothing, revision }
}

fn get(from: u64, held: Option<u64>) -> Recorded {
    let outcome = Outcome::Answered { observation: Observation::Held(held.map(Value)), revision: 9 };
    recorded(Action::Get, from, from + 1, outcome)
}

fn swap(expected: u64, new: u64, held: u64) -> Recorded {
    let action = Action::CompareAndSwap { expected: Some(Value(expected)), new: Some(Value(new)) };
    let outcome = Outcome::Answered { observation: Observation::Held(Some(Value(held))), revision: 3 };
    recorded(action, 2, 3, outcome)
}

fn change(revision: i64, value: u64) -> Change {
    Change { revision, key: KEY.to_string(), value: Some(value.to_string()) }
}

#[test]
fn what_a_register_could_answer_passes() {
    let history = [
        put(1, 0, acknowledged(2)),
        swap(1, 2, 1),
        get(4, Some(2)),
        put(3, 6, Outcome::Unknown),
        get(8, Some(3)),
    ];
    assert_eq!(judge(&history), Judgement::default());
}

#[test]
fn a_lost_acknowledged_write_is_a_violation() {
    let history = [put(1, 0, acknowledged(2)), get(2, None)];
    assert_eq!(judge(&history).violations.len(), 1);
    assert_eq!(judge_changes(&history, &[]).len(), 1);
}

#[test]
fn a_stale_read_is_a_violation() {
    let history = [put(1, 0, acknowledged(2)), put(2, 2, acknowledged(3)), get(4, Some(1))];
    let violations = judge(&history).violations;
    assert_eq!(violations.len(), 1);
    assert!(violations[0].ends_with("; get by etcd's API through node-2"), "{violations:?}");
}

#[test]
fn a_write_that_failed_for_certain_must_not_be_seen() {
    let history = [put(1, 0, Outcome::Failed), get(2, Some(1))];
    assert_eq!(judge(&history).violations.len(), 1);
    assert_eq!(judge_changes(&history, &[change(2, 1)]).len(), 1);
}

#[test]
fn a_write_of_unknown_outcome_may_be_made_once_or_never() {
    let history = [put(1, 0, Outcome::Unknown)];
    assert!(judge_changes(&history, &[]).is_empty());
    assert!(judge_changes(&history, &[change(2, 1)]).is_empty());
    assert_eq!(judge_changes(&history, &[change(2, 1), change(3, 1)]).len(), 1);
}

#[test]
fn a_change_must_be_where_it_was_acknowledged() {
    let history = [put(1, 0, acknowledged(2)), swap(1, 2, 1)];
    assert!(judge_changes(&history, &[change(2, 1), change(3, 2)]).is_empty());
    assert_eq!(judge_changes(&history, &[change(2, 1), change(4, 2)]).len(), 1);
    assert_eq!(judge_changes(&history, &[change(2, 1), change(3, 2), change(4, 7)]).len(), 1);
}

#[test]
fn a_comparison_that_did_not_hold_writes_nothing() {
    let history = [put(1, 0, acknowledged(2)), swap(5, 2, 1)];
    assert_eq!(judge(&history), Judgement::default());
    assert!(judge_changes(&history, &[change(2, 1)]).is_empty());
}
