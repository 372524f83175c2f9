//! How a host begins: from an empty disk, or from what it left there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruvector_protocol::{GroupId, Membership, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{Disk, LogOptions, LogStore, Owner, SnapshotStore, StorageError};

use super::timers::Timers;
use super::{Host, HostConfig, Hosted};
use crate::journal::Journal;
use crate::replica::{Replica, ReplicaConfig, ReplicaError};

/// How many used log segments are kept to be used again.
const RECYCLED_SEGMENTS_MAX: usize = 2;

impl<M: StateMachine> Host<M> {
    /// Opens what is on the disk and continues from it; a group of which it holds nothing begins with its first membership.
    /// `machine` makes an empty machine for a group.
    ///
    /// # Errors
    /// If the disk refuses, what it holds is damaged, or it holds a group that is not among the configured ones.
    ///
    /// # Panics
    /// If the settings make messages that could not be sent.
    pub fn open(
        config: HostConfig,
        disk: Arc<dyn Disk>,
        mut machine: impl FnMut(GroupId) -> M,
        now: Timestamp,
    ) -> Result<Self, ReplicaError> {
        config.tuning.assert_messages_fit();
        let options = LogOptions {
            segment_bytes: config.tuning.segment_bytes,
            recycled_segments_max: RECYCLED_SEGMENTS_MAX,
        };
        let owner = Owner { cluster_id: config.cluster_id, node: config.node };
        let log = LogStore::open(Arc::clone(&disk), owner, options)?;
        let store = SnapshotStore::open(disk, owner)?;
        if let Some(group) = log.groups().find(|group| !config.groups.contains_key(group)) {
            return Err(unknown_group(group, &config.groups).into());
        }
        let mut recovered: BTreeMap<_, _> =
            log.groups().filter_map(|group| Some((group, log.recovered(group)?))).collect();
        let journal = Journal::new(log);
        let mut groups = BTreeMap::new();
        for (&group, membership) in &config.groups {
            let replica = Replica::open(
                replica_config(&config, group, membership),
                journal.of_group(group),
                store.clone(),
                recovered.remove(&group),
                machine(group),
                now,
            )?;
            groups.insert(group, Hosted { replica, reads_begun: 0 });
        }
        let mut host = Self {
            node: config.node,
            journal,
            groups,
            timers: Timers::default(),
            touched: BTreeSet::new(),
            unapplied: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            loading: BTreeSet::new(),
            applied_last: GroupId::default(),
            reads_begun: 0,
            looked_in_segment: 0,
            held_segments_max: config.tuning.held_segments_max(),
            segment_bytes: config.tuning.segment_bytes,
            #[cfg(feature = "planted-bugs")]
            planted_bug: config.planted_bug,
        };
        config.groups.keys().for_each(|group| host.touch(*group));
        Ok(host)
    }
}

fn unknown_group(group: GroupId, configured: &BTreeMap<GroupId, Membership>) -> StorageError {
    let known: Vec<_> = configured.keys().map(ToString::to_string).collect();
    StorageError::Mismatch(format!(
        "the log holds group {group}, which is not among the configured ones ({}): groups and their members can't be \
         changed yet; start the node with those that its data directory was made with",
        known.join(", ")
    ))
}

fn replica_config(config: &HostConfig, group: GroupId, membership: &Membership) -> ReplicaConfig {
    ReplicaConfig {
        group,
        node: config.node,
        incarnation: config.incarnation,
        membership: membership.clone(),
        tuning: config.tuning.clone(),
        // So that the groups of a node don't all stand for election at once.
        seed: config.seed ^ (group.0 ^ GroupId::METADATA.0).wrapping_mul(SEED_SPREAD),
        #[cfg(feature = "planted-bugs")]
        core_bug: config.core_bug,
        #[cfg(feature = "planted-bugs")]
        planted_bug: config.planted_bug,
    }
}

/// An odd number whose multiples differ in all bits.
const SEED_SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
