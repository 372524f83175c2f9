//! Two answers side by side.

use std::collections::{BTreeMap, BTreeSet};

use crate::announced::{self, Meeting};
use crate::difference::Difference;
use crate::fields::Fields;
use crate::program::{Action, Step};

/// How far apart the times that two systems say a lease has left may be, in seconds: a step reaches them one after
/// the other, and both count whole seconds only.
const TIME_LEFT_TOLERANCE: i64 = 10;

/// What only an error has.
const CODE: &str = "code";
/// The fields of an error.
const ERROR: [&str; 2] = [CODE, "message"];

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What nobody has announced.
    pub unlisted: Vec<Difference>,
    /// The announced differences that were met, by name.
    pub announced: BTreeSet<&'static str>,
    /// Whether the systems are no longer in the same state by an announced difference.
    pub parted: bool,
}

/// Compares the answers to a step, or what came on streams by it.
#[must_use]
pub fn compare(step: &Step, etcd: &Fields, ours: &Fields) -> Comparison {
    let mut comparison = Comparison::default();
    let mut differences = differences(etcd, ours);
    differences.retain(|difference| !is_tolerable(step, difference));
    if differences.is_empty() {
        return comparison;
    }
    for difference in differences {
        match announced::find(&Meeting { step, etcd, ours, difference: &difference }) {
            Some(known) => {
                comparison.announced.insert(known.name);
                comparison.parted |= known.parts && step.action.as_ref().is_none_or(Action::may_write);
            }
            None => comparison.unlisted.push(difference),
        }
    }
    comparison
}

/// All fields that are not the same, in etcd's order and then those that etcd does not have. Of an answer beside an error only
/// the error is told.
fn differences(etcd: &Fields, ours: &Fields) -> Vec<Difference> {
    let by_way = |fields: &Fields| -> BTreeMap<String, String> { fields.0.iter().cloned().collect() };
    let (of_etcd, of_ours) = (by_way(etcd), by_way(ours));
    let ways = etcd.0.iter().chain(ours.0.iter().filter(|(way, _)| !of_etcd.contains_key(way)));
    let one_failed = of_etcd.contains_key(CODE) != of_ours.contains_key(CODE);
    let ways = ways.filter(|(way, _)| !one_failed || ERROR.contains(&way.as_str()));
    ways.filter_map(|(way, _)| {
        let (etcd, ours) = (of_etcd.get(way).cloned(), of_ours.get(way).cloned());
        (etcd != ours).then(|| Difference { way: way.clone(), etcd, ours })
    })
    .collect()
}

fn is_tolerable(step: &Step, difference: &Difference) -> bool {
    let Some(Action::TimeToLive(_)) = &step.action else { return false };
    let seconds = |value: &Option<String>| value.as_ref().and_then(|value| value.parse::<i64>().ok());
    let (Some(etcd), Some(ours)) = (seconds(&difference.etcd), seconds(&difference.ours)) else {
        return false;
    };
    difference.way == "ttl"
        && etcd >= 0
        && ours >= 0
        && etcd.abs_diff(ours) <= TIME_LEFT_TOLERANCE.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use ruvector_api::etcdserverpb as pb;

    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Fields {
        Fields(fields.iter().map(|(way, value)| ((*way).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_one_has_and_the_other_has_not_is_a_difference_whoever_has_it() {
        let (step, one, two) = (Step::default(), fields(&[("a", "1"), ("b", "2")]), fields(&[("a", "1")]));
        let found = compare(&step, &one, &two).unlisted;
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b: etcd 2, ours nothing"]);
        let found = compare(&step, &two, &one).unlisted;
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b: etcd nothing, ours 2"]);
        assert_eq!(compare(&step, &one, &one), Comparison::default());
    }

    #[test]
    fn of_an_answer_beside_an_error_only_the_error_is_told() {
        let error = fields(&[("code", "NotFound"), ("message", "\"no\"")]);
        let answer = fields(&[("header.revision", "base+1"), ("count", "1")]);
        let found = compare(&Step::default(), &answer, &error).unlisted;
        let ways: Vec<_> = found.iter().map(|difference| difference.way.as_str()).collect();
        assert_eq!(ways, ["code", "message"]);
    }

    #[test]
    fn seconds_may_go_by_between_two_answers_but_a_lease_that_is_gone_is_gone() {
        let ask = Action::TimeToLive(pb::LeaseTimeToLiveRequest::default());
        let step = Step { node: 0, action: Some(ask) };
        let found =
            |etcd, ours| compare(&step, &fields(&[("ttl", etcd)]), &fields(&[("ttl", ours)])).unlisted.len();
        assert_eq!(found("59", "58"), 0);
        assert_eq!(found("59", "-1"), 1);
        assert_eq!(found("59", "20"), 1);
    }
}
