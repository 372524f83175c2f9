//! Making a new data directory from a snapshot of an old one: the way back from a mistake or a lost quorum.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ruvector_protocol::{GroupId, HardState, Incarnation, NodeId, SnapshotMeta, Write, WriteId};
use ruvector_storage::{
    DirectoryLock, Disk, Identity, LogOptions, LogStore, Owner, RealDisk, SnapshotInfo, SnapshotStore,
    StorageError,
};

use crate::config::Tuning;
use crate::identity;
use crate::replica::{ReplicaError, copy_machine_contents};

/// What a restore made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredNode {
    /// The node.
    pub node: NodeId,
    /// The restored cluster's id: not that of the cluster before, so that their nodes can't mix.
    pub cluster_id: u64,
    /// The snapshot as the node now has it.
    pub snapshot: SnapshotInfo,
}

/// Makes the data directory `target` for the member `node_name`, with the state of a snapshot in `source`,
/// the data directory of any member. To restore a cluster, stop it, call this once for each member with the
/// same snapshot and `restore_label`, and start the members on the new directories.
///
/// A snapshot is of one group, whichever that is: it becomes the metadata group of the restored cluster, which has no other.
/// Nothing in `source` is changed, and the snapshot in it may be any node's of any cluster. `restore_label` tells this restore from any other, as a time does.
///
/// # Errors
/// If `source` has no such snapshot or it is damaged, `node_name` is no member, or `target` is not empty.
pub fn restore_data_directory(
    source: &Path,
    snapshot_name: &str,
    target: &Path,
    node_name: &str,
    restore_label: &str,
) -> Result<RestoredNode, ReplicaError> {
    let source_disk = open_existing(source)?;
    let old = Identity::read(source_disk.as_ref())?.ok_or_else(|| {
        StorageError::Mismatch(format!("{} is no data directory of a node", source.display()))
    })?;
    let identity = restored_identity(&old, node_name, restore_label)?;

    let _lock = DirectoryLock::acquire(target)?;
    let target_disk: Arc<dyn Disk> = Arc::new(RealDisk::new(target.to_path_buf()));
    if Identity::read(target_disk.as_ref())?.is_some() {
        let text = format!("{} is a data directory already; name an empty one", target.display());
        return Err(StorageError::Mismatch(text).into());
    }
    let snapshot = copy_snapshot(source_disk.as_ref(), snapshot_name, &target_disk, &identity)?;
    bootstrap_log(&target_disk, identity.owner(), &snapshot.meta)?;
    // Last, so that a directory left half made is no data directory.
    identity.write(target_disk.as_ref())?;
    Ok(RestoredNode { node: identity.node_id, cluster_id: identity.cluster_id, snapshot })
}

fn open_existing(directory: &Path) -> Result<Arc<dyn Disk>, StorageError> {
    if directory.is_dir() {
        Ok(Arc::new(RealDisk::new(directory.to_path_buf())))
    } else {
        let source = io::Error::from(io::ErrorKind::NotFound);
        Err(StorageError::Io { action: "opening", file: directory.display().to_string(), source })
    }
}

fn restored_identity(old: &Identity, node_name: &str, restore_label: &str) -> Result<Identity, StorageError> {
    let member = old.members.iter().find(|member| member.name == node_name).ok_or_else(|| {
        let names: Vec<_> = old.members.iter().map(|member| member.name.as_str()).collect();
        StorageError::Mismatch(format!("{node_name} is not among the members {}", names.join(",")))
    })?;
    Ok(Identity {
        cluster_id: identity::restored_cluster_id(old.cluster_id, restore_label),
        node_id: member.id,
        node_name: member.name.clone(),
        incarnation: Incarnation(0),
        // A snapshot is of one group: it becomes the metadata group of a cluster that has no other.
        groups: Vec::new(),
        ..old.clone()
    })
}

/// Copies a snapshot under the name that the node looks for. What was remembered of proposals is left out:
/// nothing that was proposed before the restore can arrive after it.
fn copy_snapshot(
    source: &dyn Disk,
    name: &str,
    target_disk: &Arc<dyn Disk>,
    identity: &Identity,
) -> Result<SnapshotInfo, ReplicaError> {
    let mut reader = SnapshotStore::open_contents_of_any(source, name)?;
    let group = GroupId::METADATA;
    let meta = SnapshotMeta { membership: identity::membership(identity), ..reader.info().meta.clone() };
    let store = SnapshotStore::open(Arc::clone(target_disk), identity.owner())?;
    let mut writer = store.create(&SnapshotStore::automatic_name(group, &meta), group, &meta)?;
    copy_machine_contents(&mut reader, &mut writer)
        .map_err(|source| ReplicaError::Restore { name: name.to_owned(), source })?;
    Ok(writer.finish()?)
}

fn bootstrap_log(disk: &Arc<dyn Disk>, owner: Owner, meta: &SnapshotMeta) -> Result<(), ReplicaError> {
    let options = LogOptions { segment_bytes: Tuning::default().segment_bytes, recycled_segments_max: 0 };
    let mut log = LogStore::open(Arc::clone(disk), owner, options)?;
    let hard_state = HardState {
        term: meta.position.term,
        voted_for: None,
        commit: meta.position.index,
        is_newcomer: false,
        promised_us: 0,
        reign: None,
    };
    log.append(&Write {
        id: WriteId(0),
        group: GroupId::METADATA,
        hard_state: Some(hard_state),
        remembered: None,
        snapshot: Some(meta.clone()),
        entries: Vec::new(),
    })?;
    Ok(log.sync()?)
}
