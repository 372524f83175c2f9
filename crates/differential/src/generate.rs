//! Programs, drawn from seeds.

mod kv;
mod large;
mod lease;
mod txn;
mod watch;

use bytes::Bytes;

use crate::chance::Chance;
use crate::program::{Action, Program, Step};
use crate::symbols::NOW;

/// Few, so that requests meet; with the shapes in which keys are mistaken for others.
const KEYS: [&[u8]; 12] =
    [b"a", b"a", b"b", b"b", b"c", b"ab", b"abc", b"a\0", b"b\xff", b"\0", b"\xff", b"\xff\xff"];
const VALUES: [&[u8]; 8] = [b"", b"1", b"1", b"2", b"10", b"a", b"\xff\0", b"long "];
const STEPS_MIN: i64 = 10;
const STEPS_MAX: i64 = 50;

/// How likely each kind of step is in a program.
#[derive(Clone, Copy, Debug)]
struct Mix {
    kv: i64,
    txn: i64,
    compact: i64,
    lease: i64,
    watch: i64,
    /// Values near the limits of requests and responses.
    large: i64,
    /// In percent, once in a program: it takes seconds.
    expire: i64,
}

const MIXES: [Mix; 5] = [
    Mix { kv: 80, txn: 10, compact: 3, lease: 0, watch: 0, large: 0, expire: 0 },
    Mix { kv: 30, txn: 60, compact: 2, lease: 5, watch: 0, large: 0, expire: 0 },
    Mix { kv: 30, txn: 10, compact: 2, lease: 50, watch: 3, large: 0, expire: 10 },
    Mix { kv: 40, txn: 15, compact: 5, lease: 2, watch: 40, large: 0, expire: 1 },
    Mix { kv: 30, txn: 20, compact: 5, lease: 15, watch: 20, large: 0, expire: 1 },
];

/// Seldom, and in short programs: each step moves megabytes.
const LARGE: Mix = Mix { kv: 10, txn: 0, compact: 1, lease: 0, watch: 10, large: 20, expire: 0 };
const LARGE_PERCENT: i64 = 2;
const LARGE_STEPS_MAX: i64 = 20;

/// The program of a seed, always the same.
#[must_use]
pub fn generate(seed: u64) -> Program {
    let mut chance = Chance::new(seed);
    let is_large = chance.percent(LARGE_PERCENT);
    let mix = if is_large { LARGE } else { chance.pick(&MIXES) };
    let length = chance.between(STEPS_MIN, if is_large { LARGE_STEPS_MAX } else { STEPS_MAX });
    let mut steps: Vec<Step> = (0..length).map(|_| step(&mut chance, mix)).collect();
    if chance.percent(mix.expire) {
        let at = usize::try_from(chance.between(0, length)).expect("between 0 and a small number");
        steps.insert(at, Step { node: node(&mut chance), action: Some(lease::expire(&mut chance)) });
    }
    Program { steps }
}

fn step(chance: &mut Chance, mix: Mix) -> Step {
    let draw = chance.weighted(&[
        (kv::action as fn(&mut Chance) -> Action, mix.kv),
        (txn::action, mix.txn),
        (kv::compact, mix.compact),
        (lease::action, mix.lease),
        (watch::action, mix.watch),
        (large::action, mix.large),
    ]);
    let action = Some(draw(chance));
    Step { node: node(chance), action }
}

fn node(chance: &mut Chance) -> u32 {
    u32::try_from(chance.between(0, 2)).expect("between 0 and 2")
}

fn key(chance: &mut Chance) -> Bytes {
    if chance.percent(1) {
        return Bytes::new();
    }
    Bytes::from_static(chance.pick(&KEYS))
}

/// The end of a range that begins at a key: none, everything behind it, a prefix, nothing, or something odd.
fn range_end(chance: &mut Chance, key: &Bytes) -> Bytes {
    match chance.between(0, 9) {
        0..=3 => Bytes::new(),
        4 | 5 => Bytes::from_static(b"\0"),
        6 => next_prefix(key),
        7 => key.clone(),
        8 => [key.as_ref(), b"\0"].concat().into(),
        _ => Bytes::from_static(chance.pick(&KEYS)),
    }
}

/// Where the keys with a prefix end, as clients compute it.
fn next_prefix(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

fn value(chance: &mut Chance) -> Bytes {
    match chance.pick(&VALUES) {
        b"long " => b"long ".repeat(usize::try_from(chance.between(5, 80)).expect("small")).into(),
        value => Bytes::from_static(value),
    }
}

/// Mostly none, often one that exists, sometimes one that can't.
fn revision(chance: &mut Chance) -> i64 {
    match chance.between(0, 19) {
        0..=7 => 0,
        8..=14 => NOW - chance.between(0, 12),
        15 => NOW - chance.between(0, 60),
        16 => NOW + chance.between(1, 3),
        17 => 1,
        18 => -1,
        _ => chance.pick(&[i64::MAX, i64::MIN, 2, -2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_program_and_another_one_another() {
        assert_eq!(generate(7), generate(7));
        assert_ne!(generate(7), generate(8));
    }

    #[test]
    fn every_kind_of_step_is_drawn() {
        let mut names: Vec<&str> = (0..400)
            .flat_map(|seed| generate(seed).steps)
            .filter_map(|step| step.action.map(|action| action.name()))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names,
            [
                "compact",
                "delete",
                "expire",
                "fleeting",
                "grant",
                "keep-alive",
                "leases",
                "put",
                "range",
                "revoke",
                "time-to-live",
                "txn",
                "watch"
            ]
        );
    }
}
