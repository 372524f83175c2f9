//! A few programs of every kind, and whether the harness finds what is not the same.

#![allow(clippy::unwrap_used)]

use ruvector_differential::campaign::Campaign;
use ruvector_differential::fields::Fields;
use ruvector_differential::generate::generate;
use ruvector_differential::program::{Action, Step};
use ruvector_differential::system::{Programs, installed_etcd, program_beside};

fn programs() -> Programs {
    Programs { etcd: installed_etcd().unwrap(), ours: program_beside().unwrap() }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn etcd_and_our_nodes_give_the_same_answers() {
    const SEEDS: u64 = 100;
    let mut campaign = Campaign::new(programs());
    wait(async {
        for seed in 0..SEEDS {
            campaign.try_program(&format!("seed {seed}"), &generate(seed)).await.unwrap();
        }
    });
    println!("{}", campaign.report);
    assert!(campaign.report.differences.is_empty(), "{}", campaign.report);
    assert!(campaign.report.steps > 1_000, "{}", campaign.report);
}

/// As if our nodes forgot to count the last key when there is a limit.
fn miscount(step: &Step, answer: &mut Fields) {
    if let Some(Action::Range(range)) = &step.action
        && range.limit == 2
    {
        for (_, count) in answer.0.iter_mut().filter(|(way, count)| way == "count" && count != "0") {
            *count = (count.parse::<i64>().unwrap() - 1).to_string();
        }
    }
}

/// As if our nodes never told what a deletion removed.
fn forget_deleted(step: &Step, answer: &mut Fields) {
    if let Some(Action::Delete(_)) = &step.action {
        answer.0.retain(|(way, _)| !way.starts_with("prev_kvs["));
    }
}

#[test]
fn a_planted_difference_is_found_and_made_small() {
    let mut campaign = Campaign::prepared(programs(), |systems| systems.pair.ours.distort(Some(miscount)));
    assert_found(&mut campaign, "count", "range");
    let mut campaign =
        Campaign::prepared(programs(), |systems| systems.pair.ours.distort(Some(forget_deleted)));
    assert_found(&mut campaign, "prev_kvs[0].key", "delete");
}

/// Plays seeds until one differs: in this field of an answer to this kind of request, and after two steps.
fn assert_found(campaign: &mut Campaign, field: &str, kind: &str) {
    wait(async {
        for seed in 0.. {
            campaign.try_program(&format!("seed {seed}"), &generate(seed)).await.unwrap();
            if !campaign.report.differences.is_empty() {
                break;
            }
        }
    });
    let [found] = campaign.report.differences.as_slice() else { panic!("{}", campaign.report) };
    assert!(found.steady, "{found}");
    assert_eq!(found.finding.kind, kind, "{found}");
    assert_eq!(found.finding.differences[0].way, field, "{found}");
    let kinds: Vec<_> = found.program.steps.iter().map(|step| step.action.as_ref().unwrap().name()).collect();
    assert_eq!(kinds, ["put", kind], "{found}");
    assert!(found.to_string().contains("cargo xtask differential --replay 0a"), "{found}");
}
