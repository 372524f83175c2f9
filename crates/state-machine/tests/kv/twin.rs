//! The machine against its naive twin, and against itself.

use proptest::prelude::*;
use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::model::Model;
use crate::strategies::{Step, any_limits, any_range_request, any_read_only_txn, any_retention, any_steps};
use crate::support::*;

/// Lets time pass, applies the step's command, and answers with the response if there was one.
fn take(fixture: &mut Fixture, step: &Step) -> Option<Response> {
    match &step.command {
        Some(command) => {
            fixture.time_ms += step.elapsed_ms;
            Some(fixture.apply(command))
        }
        None => {
            fixture.advance_time(fixture.time_ms + step.elapsed_ms);
            None
        }
    }
}

/// The same, but every third command is in a session, and may come again.
fn take_in(fixture: &mut Fixture, step: &Step, session: SessionId, number: u64) -> Option<Response> {
    let command = step.command.as_ref().filter(|_| number.is_multiple_of(3));
    let Some(command) = command else { return take(fixture, step) };
    fixture.time_ms += step.elapsed_ms;
    let place = InSession { session, sequence: 1 + number / 6, settled_below: number.saturating_sub(20) / 6 };
    Some(fixture.apply_bytes(place.encode(command)))
}

proptest! {
    #[test]
    fn answers_like_its_twin(steps in any_steps(), limits in any_limits()) {
        let mut fixture = Fixture::with_limits(limits);
        let mut model = Model { limits, ..Model::default() };
        for step in &steps {
            let response = take(&mut fixture, step);
            model.advance_time(fixture.time_ms);
            let expected = step.command.as_ref().map(|command| model.apply(command));
            prop_assert_eq!(response, expected, "{:?}", step);
            let deadlines = model.leases.values().map(|(_, deadline)| *deadline);
            prop_assert_eq!(fixture.machine.wake_at_ms(), deadlines.min());
        }
        prop_assert_eq!(dump(&fixture.view()), model.dump());
    }

    #[test]
    fn reads_like_its_twin(
        steps in any_steps(),
        ranges in prop::collection::vec(any_range_request(), 1..10),
        txns in prop::collection::vec(any_read_only_txn(), 1..5),
    ) {
        let mut fixture = Fixture::default();
        let mut model = Model::default();
        for step in &steps {
            take(&mut fixture, step);
            model.advance_time(fixture.time_ms);
            step.command.as_ref().map(|command| model.apply(command));
        }
        let view = fixture.view();
        for request in &ranges {
            prop_assert_eq!(view.range(request), model.range(request, model.present()), "{:?}", request);
        }
        for request in &txns {
            prop_assert_eq!(view.read_only_txn(request), model.txn(request), "{:?}", request);
        }
    }

    #[test]
    fn the_same_commands_lead_to_the_same_hash_and_others_to_another(steps in any_steps()) {
        let mut fixtures = [Fixture::default(), Fixture::default()];
        let mut views = vec![];
        for step in &steps {
            let [left, right] = &mut fixtures;
            prop_assert_eq!(take(left, step), take(right, step));
            // Readers that hold views of one replica must not make it differ from the other.
            views.push(left.view());
            prop_assert_eq!(left.machine.state_hash(), right.machine.state_hash());
            prop_assert_eq!(left.machine.state_hash(), left.view().state_hash());
        }
        let [left, mut right] = fixtures;
        right.put("a", "different");
        prop_assert_ne!(left.machine.state_hash(), right.machine.state_hash());
    }

    #[test]
    fn a_snapshot_continues_like_the_original(
        steps in any_steps(),
        limits in any_limits(),
        retention in any_retention(),
        at in any::<prop::sample::Index>(),
    ) {
        let (before, after) = steps.split_at(at.index(steps.len()));
        let mut original = Fixture::with_limits(limits);
        original.run(&Command::SetRetention(retention));
        let session = original.open_session(1).unwrap();
        let mut number = 0;
        for step in before {
            number += 1;
            take_in(&mut original, step, session, number);
        }
        let mut copy = restored(&original);
        prop_assert_eq!(dump(&copy.view()), dump(&original.view()));
        prop_assert_eq!(copy.view().size_bytes(), original.view().size_bytes());
        for step in after {
            number += 1;
            let answer = take_in(&mut original, step, session, number);
            prop_assert_eq!(take_in(&mut copy, step, session, number), answer);
            prop_assert_eq!(copy.machine.wake_at_ms(), original.machine.wake_at_ms());
            prop_assert_eq!(copy.machine.state_hash(), original.machine.state_hash());
        }
        prop_assert_eq!(dump(&copy.view()), dump(&original.view()));
        prop_assert_eq!(copy.machine.wake_at_ms(), original.machine.wake_at_ms());
    }

    #[test]
    fn the_running_hash_is_the_recomputed_one(steps in any_steps(), retention in any_retention()) {
        let mut fixture = Fixture::default();
        fixture.run(&Command::SetRetention(retention));
        let session = fixture.open_session(1).unwrap();
        let mut number = 0;
        for some in steps.chunks(5) {
            for step in some {
                number += 1;
                take_in(&mut fixture, step, session, number);
            }
            // Restoring adds up the hash of every record and refuses a snapshot that names another.
            prop_assert_eq!(restored(&fixture).machine.state_hash(), fixture.machine.state_hash());
        }
    }
}
