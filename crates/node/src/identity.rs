//! Who a node is: derived from names when its data directory is made, read from there ever after.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ruvector_protocol::{GroupId, Incarnation, Membership, NodeId};
use ruvector_storage::{Disk, GroupMembers, Identity, MemberAddress, StorageError};

use crate::config::{METADATA, NewGroup, NodeConfig};

/// The longest name of a group.
const GROUP_NAME_BYTES_MAX: usize = 64;

/// Reads or makes the identity for a start of the node, and counts the start.
///
/// # Errors
/// If the directory belongs to another cluster or node, the members contradict it, or the disk refuses.
pub(crate) fn begin_incarnation(config: &NodeConfig, disk: &dyn Disk) -> Result<Identity, StorageError> {
    let mut identity = match Identity::read(disk)? {
        Some(identity) => {
            check(config, &identity)?;
            identity
        }
        None => new_identity(config, disk)?,
    };
    identity.incarnation = identity.incarnation.next().max(since_1970());
    identity.write(disk)?;
    Ok(identity)
}

/// Milliseconds since 1970. A node that starts without its disk, or on an older copy of it, does not know how often
/// it was started before; but it must not take up the numbers of an incarnation that there was: the cluster would
/// hold its commands for those that it has long applied. No node is started more than a thousand times a second, so
/// as long as the wall clock is not set back by the age of the cluster, this is above any of them.
fn since_1970() -> Incarnation {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Incarnation(u64::try_from(elapsed.as_millis()).unwrap_or(0))
}

fn check(config: &NodeConfig, identity: &Identity) -> Result<(), StorageError> {
    let given = groups(config, &identity.members)?;
    if !given.is_empty() && given != identity.groups {
        return Err(StorageError::Mismatch(format!(
            "data directory {} was made with the groups {}; leave the groups out to continue, or name another data \
             directory",
            config.data_directory.display(),
            shown(&identity.groups, &identity.members)
        )));
    }
    let directory = config.data_directory.display();
    if config.cluster_name != identity.cluster_name || config.node_name != identity.node_name {
        return Err(StorageError::Mismatch(format!(
            "data directory {directory} belongs to node {} of cluster {}, not to node {} of cluster {}; name \
             another data directory",
            identity.node_name, identity.cluster_name, config.node_name, config.cluster_name
        )));
    }
    let known: Vec<_> = identity.members.iter().map(|member| (&member.name, &member.peer_address)).collect();
    let mut given: Vec<_> = config.initial_members.iter().map(|(name, address)| (name, address)).collect();
    given.sort();
    if !given.is_empty() && given != known {
        return Err(StorageError::Mismatch(format!(
            "data directory {directory} was made with the members {}; leave the members out to continue, or \
             name another data directory",
            known.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(",")
        )));
    }
    Ok(())
}

fn new_identity(config: &NodeConfig, disk: &dyn Disk) -> Result<Identity, StorageError> {
    let directory = config.data_directory.display();
    let found = disk.list("log").map_err(|source| StorageError::Io {
        action: "listing",
        file: "log".to_owned(),
        source,
    })?;
    if !found.is_empty() {
        return Err(StorageError::Mismatch(format!(
            "data directory {directory} holds a log but no identity file; bring the file back from a copy, or \
             move the directory away and let this node catch up from its peers"
        )));
    }
    if config.initial_members.is_empty() {
        return Err(StorageError::Mismatch(format!(
            "data directory {directory} is empty, so the members must be named to make a new node"
        )));
    }
    let mut names: Vec<_> = config.initial_members.clone();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(StorageError::Mismatch(format!("the members name {} twice", pair[0].0)));
    }
    if !names.iter().any(|(name, _)| *name == config.node_name) {
        return Err(StorageError::Mismatch(format!(
            "this node, {}, is not among the members {}",
            config.node_name,
            names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",")
        )));
    }
    let members: Vec<_> = names
        .into_iter()
        .map(|(name, peer_address)| MemberAddress {
            id: member_id(&config.cluster_name, &name),
            name,
            peer_address,
        })
        .collect();
    Ok(Identity {
        cluster_id: cluster_id(&config.cluster_name, &members),
        cluster_name: config.cluster_name.clone(),
        node_id: member_id(&config.cluster_name, &config.node_name),
        node_name: config.node_name.clone(),
        groups: groups(config, &members)?,
        members,
        incarnation: Incarnation(0),
    })
}

/// The groups that are configured beside the metadata group, by id.
fn groups(config: &NodeConfig, members: &[MemberAddress]) -> Result<Vec<GroupMembers>, StorageError> {
    let mut groups = BTreeMap::new();
    for NewGroup { name, members: named } in &config.groups {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > GROUP_NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(StorageError::Mismatch(format!(
                "{name:?} is no name for a group: it has 1 to {GROUP_NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
            )));
        }
        let of_group = |member: &&MemberAddress| named.is_empty() || named.contains(&member.name);
        let found: Vec<_> = members.iter().filter(of_group).collect();
        if let Some(unknown) = named.iter().find(|name| members.iter().all(|member| member.name != **name)) {
            return Err(StorageError::Mismatch(format!(
                "group {name} names {unknown}, which is not among the cluster's members"
            )));
        }
        let mut parts = vec!["group", &config.cluster_name, name];
        parts.extend(found.iter().map(|member| member.name.as_str()));
        let id = GroupId(hash_of(&parts));
        let mut members: Vec<_> = found.iter().map(|member| member.id).collect();
        members.sort();
        let is_twice = groups.values().any(|group: &GroupMembers| group.name == *name);
        let group = GroupMembers { id, name: name.clone(), members };
        if name == METADATA || id == GroupId::METADATA || is_twice || groups.insert(id, group).is_some() {
            return Err(StorageError::Mismatch(format!(
                "the groups name {name} twice ({METADATA} is always there)"
            )));
        }
    }
    Ok(groups.into_values().collect())
}

fn shown(groups: &[GroupMembers], members: &[MemberAddress]) -> String {
    let name = |id: &NodeId| {
        let member = members.iter().find(|member| member.id == *id);
        member.map_or_else(|| format!("{id:x}", id = id.0), |member| member.name.clone())
    };
    let group = |group: &GroupMembers| {
        format!("{}={}", group.name, group.members.iter().map(name).collect::<Vec<_>>().join("+"))
    };
    let all: Vec<_> = std::iter::once(METADATA.to_owned()).chain(groups.iter().map(group)).collect();
    all.join(",")
}

/// The voters among an identity's members: all of them.
pub(crate) fn membership(identity: &Identity) -> Membership {
    Membership { voters: identity.members.iter().map(|member| member.id).collect() }
}

/// The groups that this node is a member of, by id.
pub(crate) fn own_groups(identity: &Identity) -> BTreeMap<GroupId, (String, Membership)> {
    let own = identity.groups.iter().filter(|group| group.members.contains(&identity.node_id));
    let named = own.map(|group| {
        let voters = group.members.iter().copied().collect();
        (group.id, (group.name.clone(), Membership { voters }))
    });
    std::iter::once((GroupId::METADATA, (METADATA.to_owned(), membership(identity)))).chain(named).collect()
}

/// A member's id: every node derives the same from the names.
fn member_id(cluster_name: &str, node_name: &str) -> NodeId {
    NodeId(hash_of(&["member", cluster_name, node_name]))
}

fn cluster_id(cluster_name: &str, members: &[MemberAddress]) -> u64 {
    let mut parts = vec!["cluster", cluster_name];
    for member in members {
        parts.extend([member.name.as_str(), member.peer_address.as_str()]);
    }
    hash_of(&parts)
}

/// The id of a cluster restored from a snapshot: new with every restore, so that nodes of before can't mix
/// with those of after.
pub(crate) fn restored_cluster_id(before: u64, restore_label: &str) -> u64 {
    hash_of(&["restored", &format!("{before:016x}"), restore_label])
}

/// The first 64 bits of BLAKE3 over the parts, each with its length; never 0.
fn hash_of(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first).max(1)
}
