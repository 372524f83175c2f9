//! The checker against hand-made histories and against a naive twin.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ruvector_simulator::linearizability::{
    Action, Completion, Lease, Observation, Operation, Register, Value, Verdict, check,
};

const CONFIGURATIONS_MAX: usize = 100_000;

fn put(value: u64) -> Action {
    Action::Put { value: Value(value), lease: None }
}

fn swap(expected: Option<u64>, new: Option<u64>) -> Action {
    Action::CompareAndSwap { expected: expected.map(Value), new: new.map(Value) }
}

fn unknown(action: Action, invoked_at: u64) -> Operation {
    Operation { action, invoked_at, completion: Completion::Unknown }
}

fn blind(action: Action, invoked_at: u64, at: u64) -> Operation {
    let completion = Completion::Answered { at, observation: Observation::Nothing };
    Operation { action, invoked_at, completion }
}

fn saw(action: Action, invoked_at: u64, at: u64, held: Option<u64>) -> Operation {
    let observation = Observation::Held(held.map(Value));
    Operation { action, invoked_at, completion: Completion::Answered { at, observation } }
}

fn get(invoked_at: u64, at: u64, held: Option<u64>) -> Operation {
    saw(Action::Get, invoked_at, at, held)
}

#[track_caller]
fn good(history: &[Operation]) {
    assert_eq!(check(history, CONFIGURATIONS_MAX), Verdict::Linearizable);
    assert!(naive(history));
}

#[track_caller]
fn bad(history: &[Operation], culprit: usize) {
    assert!(!naive(history));
    match check(history, CONFIGURATIONS_MAX) {
        Verdict::Violation(violation) => assert_eq!(violation.operation, culprit, "{violation:?}"),
        other @ (Verdict::Linearizable | Verdict::Undecided) => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_history_is_good() {
    good(&[]);
}

#[test]
fn a_read_after_a_write_sees_it() {
    good(&[blind(put(1), 0, 1), get(2, 3, Some(1))]);
    bad(&[blind(put(1), 0, 1), get(2, 3, None)], 1);
}

#[test]
fn a_read_beside_a_write_sees_either() {
    good(&[blind(put(1), 0, 10), get(2, 3, Some(1))]);
    good(&[blind(put(1), 0, 10), get(2, 3, None)]);
}

#[test]
fn reads_beside_a_write_do_not_go_back() {
    good(&[blind(put(1), 0, 10), get(2, 3, None), get(4, 5, Some(1))]);
    bad(&[blind(put(1), 0, 10), get(2, 3, Some(1)), get(4, 5, None)], 2);
}

#[test]
fn two_readers_agree_on_the_order_of_two_writes() {
    let writes = [blind(put(1), 0, 100), blind(put(2), 0, 100)];
    let agree = [get(10, 11, Some(1)), get(20, 21, Some(2)), get(10, 12, Some(1)), get(20, 22, Some(2))];
    good(&[&writes[..], &agree[..]].concat());
    let differ = [get(10, 11, Some(1)), get(20, 21, Some(2)), get(30, 31, Some(1))];
    bad(&[&writes[..], &differ[..]].concat(), 4);
}

#[test]
fn a_value_that_nobody_wrote_is_bad() {
    bad(&[blind(put(1), 0, 1), get(2, 3, Some(9))], 1);
}

#[test]
fn a_lost_write_is_bad() {
    bad(&[blind(put(1), 0, 1), blind(put(2), 2, 3), get(4, 5, Some(1))], 2);
}

#[test]
fn a_read_from_the_future_is_bad() {
    bad(&[get(0, 1, Some(1)), blind(put(1), 2, 3)], 0);
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    good(&[unknown(put(1), 0), get(1, 2, None), get(3, 4, Some(1))]);
    good(&[unknown(put(1), 0), get(1, 2, None), get(3, 4, None)]);
    good(&[unknown(put(1), 0), blind(put(2), 1, 2), get(3, 4, Some(2)), get(100, 101, Some(1))]);
}

#[test]
fn an_unknown_write_takes_effect_at_most_once() {
    let history =
        [unknown(put(1), 0), get(1, 2, Some(1)), blind(put(2), 3, 4), get(5, 6, Some(2)), get(7, 8, Some(1))];
    bad(&history, 4);
}

#[test]
fn an_unknown_write_does_not_take_effect_before_it_was_asked_for() {
    bad(&[get(0, 1, Some(1)), unknown(put(1), 2)], 0);
}

#[test]
fn a_compare_and_swap_says_what_it_found() {
    good(&[blind(put(1), 0, 1), saw(swap(Some(1), Some(2)), 2, 3, Some(1)), get(4, 5, Some(2))]);
    good(&[blind(put(1), 0, 1), saw(swap(Some(9), Some(2)), 2, 3, Some(1)), get(4, 5, Some(1))]);
    bad(&[blind(put(1), 0, 1), saw(swap(Some(1), Some(2)), 2, 3, Some(1)), get(4, 5, Some(1))], 2);
}

#[test]
fn two_compare_and_swaps_of_one_value_do_not_both_succeed() {
    let history = [
        blind(put(1), 0, 1),
        saw(swap(Some(1), Some(2)), 2, 9, Some(1)),
        saw(swap(Some(1), Some(3)), 2, 10, Some(1)),
    ];
    bad(&history, 2);
}

#[test]
fn an_unknown_compare_and_swap_may_explain_a_value() {
    let setup = [blind(put(1), 0, 1), unknown(swap(Some(1), Some(2)), 2)];
    good(&[&setup[..], &[get(5, 6, Some(2))]].concat());
    bad(&[&setup[..], &[blind(put(3), 3, 4), get(5, 6, Some(3)), get(7, 8, Some(2))]].concat(), 4);
}

#[test]
fn an_unnoticed_value_between_can_make_a_swap_possible() {
    let history = [unknown(put(1), 0), unknown(swap(Some(1), Some(2)), 0), get(1, 2, Some(2))];
    good(&history);
}

#[test]
fn a_delete_is_seen() {
    good(&[blind(put(1), 0, 1), saw(Action::Delete, 2, 3, Some(1)), get(4, 5, None)]);
    bad(&[blind(put(1), 0, 1), saw(Action::Delete, 2, 3, Some(1)), get(4, 5, Some(1))], 2);
}

#[test]
fn the_end_of_a_lease_deletes_only_what_is_attached_to_it() {
    let lease = Lease(7);
    let attached = Action::Put { value: Value(1), lease: Some(lease) };
    let end = unknown(Action::EndLease { lease }, 10);
    good(&[blind(attached, 0, 1), end, get(20, 21, None)]);
    good(&[blind(attached, 0, 1), end, get(20, 21, Some(1)), get(22, 23, None)]);
    bad(&[blind(attached, 0, 1), end, get(5, 6, None)], 2);
    bad(&[blind(attached, 0, 1), end, blind(put(2), 2, 3), get(20, 21, None)], 3);
}

#[test]
fn an_answered_end_of_a_lease_has_happened() {
    let lease = Lease(7);
    let attached = Action::Put { value: Value(1), lease: Some(lease) };
    let revoked = blind(Action::EndLease { lease }, 2, 3);
    good(&[blind(attached, 0, 1), revoked, get(4, 5, None)]);
    bad(&[blind(attached, 0, 1), revoked, get(4, 5, Some(1))], 2);
}

/// Without the measures against growth these would take 2^60 configurations.
#[test]
fn many_unknown_operations_are_no_burden() {
    let mut history = vec![blind(put(1_000), 0, 1)];
    for index in 0..60 {
        history.push(unknown(put(index), 2 + index));
        history.push(unknown(Action::Delete, 2 + index));
    }
    history.push(get(200, 201, Some(1_000)));
    history.push(get(202, 203, None));
    history.push(get(204, 205, Some(59)));
    history.push(get(206, 207, None));
    assert_eq!(check(&history, 1_000), Verdict::Linearizable);
    history.push(get(208, 209, Some(59)));
    assert!(matches!(check(&history, 1_000), Verdict::Violation(v) if v.operation == history.len() - 1));
}

#[test]
fn a_search_beyond_its_bound_says_so() {
    let mut history: Vec<_> = (0..30).map(|value| blind(put(value), 0, 100)).collect();
    history.push(get(101, 102, Some(1_000)));
    assert_eq!(check(&history, 1_000), Verdict::Undecided);
    let too_many_open: Vec<_> = (0..200).map(|value| blind(put(value), 0, 100)).collect();
    assert_eq!(check(&too_many_open, usize::MAX), Verdict::Undecided);
}

/// Tries every order, with none of the search's cleverness.
fn naive(history: &[Operation]) -> bool {
    fn extend(history: &[Operation], done: &mut Vec<bool>, register: Register) -> bool {
        let answered_at = |operation: &Operation| match operation.completion {
            Completion::Answered { at, .. } => Some(at),
            Completion::Unknown => None,
        };
        let open = |index: &usize| !done[*index];
        let answers = (0..history.len()).filter(open).filter_map(|index| answered_at(&history[index]));
        let Some(first_answer) = answers.min() else { return true };
        for index in 0..history.len() {
            if done[index] || history[index].invoked_at > first_answer {
                continue;
            }
            let Some(next) = register.after(&history[index]) else { continue };
            done[index] = true;
            let found = extend(history, done, next);
            done[index] = false;
            if found {
                return true;
            }
        }
        false
    }
    extend(history, &mut vec![false; history.len()], Register::default())
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![Just(None), (0u64..4).prop_map(|value| Some(Value(value)))]
}

fn any_action() -> impl Strategy<Value = Action> {
    let lease = prop_oneof![Just(None), (0u64..2).prop_map(|lease| Some(Lease(lease)))];
    prop_oneof![
        3 => Just(Action::Get),
        3 => ((0u64..4), lease).prop_map(|(value, lease)| Action::Put { value: Value(value), lease }),
        1 => Just(Action::Delete),
        2 => (any_value(), any_value()).prop_map(|(expected, new)| Action::CompareAndSwap { expected, new }),
        1 => (0u64..2).prop_map(|lease| Action::EndLease { lease: Lease(lease) }),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let observation = prop_oneof![
        1 => Just(Observation::Nothing),
        3 => any_value().prop_map(Observation::Held),
    ];
    (any_action(), 0u64..20, 0u64..10, observation, prop::bool::weighted(0.3)).prop_map(
        |(action, invoked_at, duration, observation, unknown)| {
            let answered = Completion::Answered { at: invoked_at + duration, observation };
            let completion = if unknown { Completion::Unknown } else { answered };
            Operation { action, invoked_at, completion }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn agrees_with_the_naive_twin(history in prop::collection::vec(any_operation(), 0..7)) {
        let verdict = check(&history, CONFIGURATIONS_MAX);
        prop_assert_eq!(verdict == Verdict::Linearizable, naive(&history), "{:?}", verdict);
    }
}

/// What operations may do on the two values of a small world.
const SMALL_ACTIONS: [Action; 5] = [
    Action::Get,
    Action::Put { value: Value(1), lease: None },
    Action::Put { value: Value(2), lease: None },
    Action::CompareAndSwap { expected: None, new: Some(Value(1)) },
    Action::CompareAndSwap { expected: Some(Value(1)), new: None },
];

/// Every way in which an operation that was invoked at a time may end by the times given.
fn ends(invoked_at: u64, answers: &[u64]) -> Vec<Completion> {
    let held = [None, Some(Value(1)), Some(Value(2))].map(Observation::Held);
    let observations = held.into_iter().chain([Observation::Nothing]);
    let answered = answers.iter().filter(|at| **at > invoked_at);
    let answered = answered
        .flat_map(|at| observations.clone().map(|observation| Completion::Answered { at: *at, observation }));
    answered.chain([Completion::Unknown]).collect()
}

/// All histories of up to three operations of a small world: every order of invocations and answers, every answer.
#[test]
fn agrees_with_the_naive_twin_on_all_small_histories() {
    let mut counts = [0_u64; 2];
    for length in 1..=3_usize {
        let times: Vec<u64> = (0..2 * length as u64).collect();
        let operations: Vec<Operation> = times
            .iter()
            .flat_map(|invoked_at| {
                SMALL_ACTIONS.iter().flat_map(|action| {
                    let ends = ends(*invoked_at, &times);
                    ends.into_iter().map(|completion| Operation {
                        action: *action,
                        invoked_at: *invoked_at,
                        completion,
                    })
                })
            })
            .collect();
        visit_histories(&operations, length, &mut Vec::new(), &mut |history| {
            let expected = naive(history);
            let verdict = check(history, CONFIGURATIONS_MAX);
            assert_eq!(verdict == Verdict::Linearizable, expected, "{verdict:?} {history:?}");
            counts[usize::from(expected)] += 1;
        });
    }
    println!("{} histories are linearizable, {} are not", counts[1], counts[0]);
    assert!(counts.iter().all(|count| *count > 10_000), "{counts:?}");
}

/// Visits all histories of a length, each once whatever the order of its operations, in which no two things happen
/// at the same time.
fn visit_histories(
    operations: &[Operation],
    length: usize,
    history: &mut Vec<Operation>,
    visit: &mut impl FnMut(&[Operation]),
) {
    if history.len() == length {
        visit(history);
        return;
    }
    for (place, operation) in operations.iter().enumerate() {
        let times = |operation: &Operation| {
            let answered_at = match operation.completion {
                Completion::Answered { at, .. } => Some(at),
                Completion::Unknown => None,
            };
            [Some(operation.invoked_at), answered_at]
        };
        let clashes = |other: &Operation| {
            times(other).iter().flatten().any(|time| times(operation).contains(&Some(*time)))
        };
        if history.iter().any(clashes) {
            continue;
        }
        history.push(*operation);
        visit_histories(&operations[place + 1..], length, history, visit);
        history.pop();
    }
}
