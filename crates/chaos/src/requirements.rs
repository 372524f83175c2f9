//! What a run needs of the machine.

use std::fmt;

use anyhow::Result;

use crate::command::ip;
use crate::disk::{Disk, DiskKind};
use crate::leftovers;

/// Why no run is possible here, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The user, or the container around everything, may not do what is needed.
    NotPermitted(String),
    /// A program has to be installed.
    NotInstalled(String),
}

/// What stands in the way of a run; `None` if nothing does.
#[must_use]
pub fn obstacle() -> Option<Obstacle> {
    if !rustix::process::geteuid().is_root() {
        return Some(Obstacle::NotPermitted("network namespaces and mounts need root".to_owned()));
    }
    if let Err(error) = ip("-V") {
        let advice = format!("the program `ip` is needed (Debian: iproute2): {error:#}");
        return Some(Obstacle::NotInstalled(advice));
    }
    if let Err(error) = try_network() {
        return Some(Obstacle::NotPermitted(format!(
            "no network namespaces with bridge and veth: {error:#}"
        )));
    }
    let disk = try_disk(DiskKind::Memory);
    disk.err().map(|error| Obstacle::NotPermitted(format!("no file system can be mounted: {error:#}")))
}

/// Why no disk's sync can be made to fail here, in one line; `None` if that is possible.
#[must_use]
pub fn obstacle_to_failing_syncs() -> Option<String> {
    let advice = "loop devices and `mkfs.ext4` (Debian: e2fsprogs) are needed";
    try_disk(DiskKind::Loop).err().map(|error| format!("{advice}: {error:#}"))
}

fn try_network() -> Result<()> {
    let trial = leftovers::namespace_prefix("trial");
    let made = ip(&format!("netns add {trial}"))
        .and_then(|_| ip(&format!("-n {trial} link add bridge type bridge")))
        .and_then(|_| ip(&format!("-n {trial} link add one type veth peer name other")));
    // There is nothing to delete if the first of them failed.
    let _ = ip(&format!("netns del {trial}"));
    made.map(drop)
}

fn try_disk(kind: DiskKind) -> Result<()> {
    let directory = leftovers::directory()?;
    Disk::mount(directory.path(), kind).map(drop)
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(why) | Self::NotInstalled(why) => formatter.write_str(why),
        }
    }
}
