//! How long history is kept.

use proptest::prelude::*;
use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::support::*;

/// What a version counts beside its key and value.
const VERSION_BYTES: u64 = 128;

fn retention(age_ms: Option<u64>, bytes: Option<u64>) -> Command {
    Command::SetRetention(Retention { age_ms, bytes })
}

fn keeping(age_ms: Option<u64>, bytes: Option<u64>) -> Fixture {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.run(&retention(age_ms, bytes)), Outcome::RetentionSet);
    fixture
}

/// Lets time pass as a leader does: with an entry whenever the machine asks for one.
fn pass_to(fixture: &mut Fixture, time_ms: u64) {
    while let Some(wake_at_ms) = fixture.machine.wake_at_ms().filter(|wake_at_ms| *wake_at_ms <= time_ms) {
        let before = fixture.view().state_hash();
        fixture.advance_time(wake_at_ms.max(fixture.time_ms));
        assert_ne!(fixture.view().state_hash(), before, "an entry that was asked for and did nothing");
    }
    fixture.time_ms = time_ms;
}

#[test]
fn nothing_is_forgotten_unless_told() {
    let mut fixture = Fixture::default();
    for number in 0..1_000 {
        fixture.time_ms += 100_000;
        fixture.put("a", &number.to_string());
    }
    assert_eq!((fixture.view().compacted(), fixture.machine.wake_at_ms()), (Revision(0), None));
    assert_eq!(fixture.view().retention(), Retention::default());
}

#[test]
fn what_is_over_is_compacted_and_asking_for_it_is_told_so() {
    let mut fixture = keeping(Some(3_600_000), None);
    for value in ["1", "2", "3"] {
        fixture.put("a", value);
        fixture.time_ms += 60_000;
    }
    pass_to(&mut fixture, 3_600_000 - 1);
    fixture.put("b", "");
    assert_eq!(fixture.view().compacted(), Revision(0));
    pass_to(&mut fixture, 3_600_000);
    fixture.advance_time(3_600_000);
    assert_eq!(fixture.view().compacted(), Revision(2));
    let read = |revision| RangeRequest { revision: Some(Revision(revision)), ..get("a") };
    let refused = KvError::Compacted { requested: Revision(1), compacted: Revision(2) };
    assert_eq!(fixture.view().range(&read(1)), Err(refused));
    assert!(fixture.view().range(&read(2)).is_ok());
    pass_to(&mut fixture, 10_000_000);
    assert_eq!(fixture.view().compacted(), fixture.view().revision(), "all of it is over");
    assert_eq!(fixture.machine.wake_at_ms(), None, "nothing is left to be over");
    assert_eq!(fixture.get("a"), Some(key_value("a", "3", 2, 4, 3)));
}

#[test]
fn an_hour_of_no_writes_costs_few_entries() {
    let mut fixture = keeping(Some(3_600_000), Some(1 << 20));
    for number in 0..10_000 {
        fixture.time_ms += 10;
        fixture.put("a", &number.to_string());
    }
    let index = fixture.index;
    pass_to(&mut fixture, 100_000_000);
    assert!(fixture.index - index < 260, "{} entries", fixture.index - index);
    assert_eq!(fixture.view().compacted(), fixture.view().revision());
}

#[test]
fn retention_that_is_switched_off_forgets_no_more() {
    let mut fixture = keeping(Some(1_000), Some(10_000));
    fixture.put("a", "1");
    assert!(fixture.machine.wake_at_ms().is_some());
    fixture.run(&retention(None, None));
    assert_eq!(fixture.machine.wake_at_ms(), None);
    fixture.time_ms = 1_000_000;
    fixture.put("a", "2");
    assert_eq!(fixture.view().compacted(), Revision(0));
    fixture.run(&retention(Some(1_000), None));
    pass_to(&mut fixture, 1_000_999);
    assert_eq!(fixture.view().compacted(), Revision(0), "its age counts from when it was switched on");
    pass_to(&mut fixture, 1_001_000);
    assert_eq!(fixture.view().compacted(), Revision(3));
}

#[test]
fn a_compaction_that_is_asked_for_is_not_taken_back() {
    let mut fixture = keeping(Some(1_000), None);
    for number in 0..20 {
        fixture.time_ms += 100;
        fixture.put("a", &number.to_string());
    }
    fixture.compact(20).unwrap();
    pass_to(&mut fixture, 2_050);
    assert_eq!(fixture.view().compacted(), Revision(20));
    assert!(matches!(fixture.compact(19), Err(KvError::Compacted { .. })));
    pass_to(&mut fixture, 100_000);
    assert_eq!(fixture.view().compacted(), Revision(21));
}

#[test]
fn the_largest_bounds_overflow_nothing() {
    for bound in [0, 1, u64::MAX] {
        let mut fixture = keeping(Some(bound), Some(bound));
        fixture.put("a", "1");
        fixture.time_ms = u64::MAX / 2;
        fixture.put("a", "2");
        restored(&fixture);
    }
}

/// Puts of one size to few keys, and the most that the store ever took.
fn largest_size(fixture: &mut Fixture, puts: usize, value_bytes: usize) -> u64 {
    let value = "x".repeat(value_bytes);
    let sizes = (0..puts).map(|number| {
        fixture.put(&format!("{:02}", number % 10), &value);
        fixture.view().size_bytes()
    });
    sizes.max().unwrap()
}

#[test]
fn memory_stays_bounded_under_endless_puts() {
    const KEPT: u64 = 300_000;
    let mut fixture = keeping(None, Some(KEPT));
    // Small ones after large ones, and large ones after small ones, of which many have to go for one.
    for (puts, value_bytes) in [(5_000, 100), (1_000, 10_000), (20_000, 0), (1_000, 10_000), (5_000, 100)] {
        let current = 11 * (10_000 + VERSION_BYTES);
        let largest = largest_size(&mut fixture, puts, value_bytes);
        assert!(largest < KEPT * 13 / 10 + current, "{largest} after {puts} of {value_bytes}");
        assert!(largest > KEPT * 9 / 10, "{largest} after {puts} of {value_bytes}");
    }
}

#[test]
fn deletions_of_many_keys_leave_what_they_owe_to_the_entries_that_follow() {
    let mut fixture = Fixture::default();
    let mut sizes = Vec::new();
    for _ in 0..12 {
        for key in 0..10_000 {
            fixture.put(&format!("{key}"), "");
        }
        let before = fixture.view().history_count();
        fixture.delete("", "\0");
        let taken_out = before + 10_000 - fixture.view().history_count();
        assert!(taken_out <= 4_096, "one entry took {taken_out} out");
        fixture.compact(fixture.view().revision().0).unwrap();
        sizes.push(fixture.view().history_count());
    }
    let largest = sizes.iter().max().unwrap();
    assert!(*largest < 45_000, "it grows and grows: {sizes:?}");
}

proptest! {
    #[test]
    fn changes_are_kept_for_their_age_and_hardly_longer(
        age_ms in 1_u64..3_000,
        puts in prop::collection::vec(0_u64..300, 1..100),
    ) {
        let mut fixture = keeping(Some(age_ms), None);
        let mut times = vec![];
        for elapsed_ms in puts {
            let now_ms = fixture.time_ms + elapsed_ms;
            pass_to(&mut fixture, now_ms);
            fixture.put("a", "");
            times.push(now_ms);
            // The first put made revision 2.
            let compacted = usize::try_from(fixture.view().compacted().0).unwrap().saturating_sub(1);
            prop_assert!(times[..compacted].iter().all(|time_ms| time_ms + age_ms <= now_ms), "too early");
            let over = age_ms + age_ms / 128;
            prop_assert!(times[compacted..].iter().all(|time_ms| time_ms + over >= now_ms), "too late");
            let newest = fixture.view().revision();
            prop_assert!(fixture.view().recent_events(newest, newest).is_ok(), "who keeps up is cut off");
        }
    }

    #[test]
    fn so_many_bytes_of_changes_are_kept_and_hardly_more(
        bytes in 1_000_u64..20_000,
        puts in prop::collection::vec(0_usize..400, 1..300),
    ) {
        let mut fixture = keeping(None, Some(bytes));
        let mut written = vec![0, 0];
        for value_bytes in puts {
            fixture.put("a", &"x".repeat(value_bytes));
            let put_bytes = value_bytes as u64 + 1 + VERSION_BYTES;
            written.push(written.last().unwrap() + put_bytes);
            let compacted = usize::try_from(fixture.view().compacted().0).unwrap();
            let kept = written.last().unwrap() - written[compacted];
            let largest_put_bytes = 400 + 1 + VERSION_BYTES;
            prop_assert!(kept <= bytes + largest_put_bytes, "{kept} are kept");
            prop_assert!(compacted == 0 || kept >= bytes - bytes / 128, "only {kept} are kept");
        }
    }
}
