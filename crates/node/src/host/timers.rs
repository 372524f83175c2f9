//! When which group is to be woken.

use std::collections::{BTreeMap, BTreeSet};

use ruvector_protocol::{GroupId, Timestamp};

/// The deadlines of all groups, the earliest first.
///
/// Invariants:
/// - both sides hold the same pairs, so a group has one deadline at most;
/// - nobody is woken early. Those groups that this node leads are due at the same moments by themselves: their cores
///   make themselves heard in step ([`Config::beat_us`](ruvector_protocol::Config)).
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Timestamp, GroupId)>,
    by_group: BTreeMap<GroupId, Timestamp>,
}

impl Timers {
    /// The group is to be woken then, and at no other time; `None`: not at all.
    pub(super) fn set(&mut self, group: GroupId, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.by_group.insert(group, at),
            None => self.by_group.remove(&group),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            let was_there = self.by_time.remove(&(before, group));
            assert!(was_there, "group {group} is due at {before:?} and is not in order of time");
        }
        self.by_time.extend(at.map(|at| (at, group)));
        let (in_order, groups) = (self.by_time.len(), self.by_group.len());
        assert_eq!(in_order, groups, "deadlines in order of time, and groups that have one");
    }

    /// The groups that have a deadline.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.by_group.keys()
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The groups that are due.
    pub(super) fn due(&self, now: Timestamp) -> Vec<GroupId> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, group)| *group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_due_at_the_time_it_was_last_given() {
        let mut timers = Timers::default();
        assert_eq!((timers.first(), timers.due(Timestamp(9))), (None, vec![]));
        timers.set(GroupId(1), Some(Timestamp(5)));
        timers.set(GroupId(2), Some(Timestamp(3)));
        assert_eq!((timers.first(), timers.due(Timestamp(4))), (Some(Timestamp(3)), vec![GroupId(2)]));
        timers.set(GroupId(2), Some(Timestamp(7)));
        timers.set(GroupId(1), Some(Timestamp(5)));
        assert_eq!(timers.due(Timestamp(7)), [GroupId(1), GroupId(2)]);
        timers.set(GroupId(1), None);
        timers.set(GroupId(3), None);
        assert_eq!((timers.first(), timers.due(Timestamp(6))), (Some(Timestamp(7)), vec![]));
    }
}
