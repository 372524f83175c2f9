//! Leases.

use ruvector_api::etcdserverpb as pb;

use super::key;
use crate::chance::Chance;
use crate::program::{Action, Expiry, Renewals};
use crate::symbols::CHOSEN;

/// Longer than any program takes, and far apart: leases that end together are in no order.
const TTL_STEP: i64 = 30;
const TTL_STEPS_MAX: i64 = 100_000;
const TTL_MAX: i64 = 9_000_000_000;
/// Shorter than that, or impossible.
const ODD_TTLS: [i64; 7] = [0, 1, -1, 2, i64::MIN, 9_000_000_001, i64::MAX];

pub(super) fn action(chance: &mut Chance) -> Action {
    match chance.between(0, 99) {
        0..=29 => {
            let ttl = match chance.between(0, 99) {
                0..=4 => TTL_MAX + 1,
                5..=7 => TTL_MAX,
                _ => TTL_STEP * chance.between(2, TTL_STEPS_MAX),
            };
            Action::Grant(pb::LeaseGrantRequest { ttl, id: new_id(chance) })
        }
        30..=34 => {
            let ttl = if chance.percent(70) { chance.pick(&ODD_TTLS) } else { chance.between(-3, 9) };
            Action::Fleeting(pb::LeaseGrantRequest { ttl, id: new_id(chance) })
        }
        35..=49 => Action::Revoke(pb::LeaseRevokeRequest { id: id(chance) }),
        50..=64 => {
            let ids = (0..chance.between(1, 3)).map(|_| id(chance)).collect();
            Action::KeepAlive(Renewals { ids })
        }
        65..=89 => {
            Action::TimeToLive(pb::LeaseTimeToLiveRequest { id: id(chance), keys: chance.percent(60) })
        }
        _ => Action::Leases(pb::LeaseLeasesRequest {}),
    }
}

pub(super) fn expire(chance: &mut Chance) -> Action {
    let mut keys: Vec<_> = (0..chance.between(0, 4)).map(|_| key(chance)).collect();
    keys.retain(|key| !key.is_empty());
    Action::Expire(Expiry { id: chance.between(50, 60), keys })
}

/// The id of a lease that may exist.
pub(super) fn id(chance: &mut Chance) -> i64 {
    match chance.between(0, 19) {
        0..=12 => chance.between(1, 3),
        13..=17 => CHOSEN + chance.between(0, 2),
        18 => chance.pick(&[4, -5]),
        _ => chance.pick(&[0, -1, i64::MAX, i64::MIN]),
    }
}

/// An id to ask for; 0 lets the system choose.
fn new_id(chance: &mut Chance) -> i64 {
    match chance.between(0, 19) {
        0..=12 => chance.between(1, 3),
        13..=17 => 0,
        18 => -5,
        _ => chance.pick(&[i64::MAX, i64::MIN]),
    }
}
