//! A small disk for a node, which can be full and whose syncs can fail.
//!
//! It is an ext4 in a sparse file on a loop device, and the file lies in a tmpfs. When something else fills the tmpfs,
//! ext4 still takes writes into its cache, but can't bring them to the "device": the sync fails with an input/output
//! error. Without loop devices the disk is a plain tmpfs, and only full disks can be had.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::run;

/// Room for the log, its spare files and some snapshots.
const DISK_MIB: u64 = 96;
/// Room behind it: enough for every block of the disk, as long as nothing else is there.
const BACKING_MIB: u64 = 112;
const FILLER: &str = "filler";

/// What a disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// Can be full, and syncs can fail.
    Loop,
    /// Can be full.
    Memory,
}

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    kind: DiskKind,
    backing: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Makes and mounts a disk below a directory.
    ///
    /// # Errors
    /// If a tool fails; what was mounted until then is unmounted.
    pub fn mount(directory: &Path, kind: DiskKind) -> Result<Self> {
        let disk = Self { kind, backing: directory.join("backing"), mounted: directory.join("disk") };
        fs::create_dir_all(&disk.backing)?;
        fs::create_dir_all(&disk.mounted)?;
        match kind {
            DiskKind::Memory => mount_memory(&disk.mounted, DISK_MIB)?,
            DiskKind::Loop => {
                mount_memory(&disk.backing, BACKING_MIB)?;
                File::create(disk.image())?.set_len(DISK_MIB << 20)?;
                run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image()))?;
                disk.mount_image()?;
            }
        }
        Ok(disk)
    }

    /// Where the node keeps everything.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.mounted.join("data")
    }

    /// Removes all that the node kept. It must have ended.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn empty(&self) -> Result<()> {
        fs::remove_dir_all(self.data_directory()).context("can't empty the disk")
    }

    /// Leaves no room.
    ///
    /// # Errors
    /// If the disk fails for another reason than that it is full.
    pub fn fill(&self) -> Result<()> {
        fill(&self.mounted)
    }

    /// The opposite of [`Self::fill`].
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.mounted.join(FILLER)).context("can't make room again")
    }

    /// Makes the device take no further block, so that syncs fail.
    ///
    /// # Errors
    /// If the disk has no device, or filling what is behind it fails.
    pub fn break_device(&self) -> Result<()> {
        match self.kind {
            DiskKind::Loop => {
                // Gives back the blocks of removed files: what is written next needs new ones.
                run(Command::new("fstrim").arg(&self.mounted))?;
                fill(&self.backing)
            }
            DiskKind::Memory => bail!("a disk in memory has no device that could break"),
        }
    }

    /// Repairs the device and the file system. Nothing may have a file open there.
    ///
    /// # Errors
    /// If it can't be unmounted, repaired or mounted again.
    pub fn repair_device(&self) -> Result<()> {
        fs::remove_file(self.backing.join(FILLER)).context("can't make room behind the device")?;
        run(Command::new("umount").arg(&self.mounted))?;
        self.check_image()?;
        self.mount_image()
    }

    fn image(&self) -> PathBuf {
        self.backing.join("image")
    }

    fn mount_image(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mounted)).map(drop)
    }

    /// `e2fsck` exits with 1 when it has repaired something, which is no failure.
    fn check_image(&self) -> Result<()> {
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(self.image()).output();
        let checked = checked.context("can't run `e2fsck`")?;
        match checked.status.code() {
            Some(0 | 1) => Ok(()),
            Some(_) | None => bail!("e2fsck: {}", String::from_utf8_lossy(&checked.stdout)),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for directory in [&self.mounted, &self.backing] {
            // One of them may not be mounted. A node that was killed may need a moment to let go of its files.
            let _ = run(Command::new("umount").arg("--lazy").arg(directory));
        }
    }
}

fn mount_memory(directory: &Path, mebibytes: u64) -> Result<()> {
    let size = format!("size={mebibytes}m");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "ruvector-chaos"]).arg(directory)).map(drop)
}

fn fill(directory: &Path) -> Result<()> {
    let mut file = File::create(directory.join(FILLER))?;
    // Large pieces first, then what is left.
    for piece in [1 << 20, 4096, 1] {
        let zeros = vec![0; piece];
        loop {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("can't fill the disk"),
            }
        }
    }
    Ok(())
}
