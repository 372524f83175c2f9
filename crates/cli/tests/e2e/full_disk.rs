//! A disk without room. The node stops and says so; what it acknowledged is there when there is room. (FAULTS 7)

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Cluster, run};
use bytes::Bytes;
use ruvector_client::{GetOptions, PutOptions};

/// Room for one segment of the log and a little more.
const SMALL: &str = "size=100m";
const LARGE: &str = "size=400m";
const VALUE_BYTES: usize = 500_000;

/// A file system in memory, with a size; unmounted when dropped.
struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    fn mount(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        mount(&["-t", "tmpfs", "-o", SMALL, "tmpfs"], directory);
        Self { directory: directory.to_owned() }
    }

    fn make_room(&self) {
        mount(&["-o", &format!("remount,{LARGE}")], &self.directory);
    }
}

fn mount(arguments: &[&str], directory: &Path) {
    let mounted = run(Command::new("mount").args(arguments).arg(directory), "");
    assert_eq!(mounted.code, Some(0), "this test mounts a small tmpfs and must run as root: {mounted:?}");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = run(Command::new("umount").arg("--lazy").arg(&self.directory), "");
        assert!(std::thread::panicking() || unmounted.code == Some(0), "{unmounted:?}");
    }
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&scratch.path().join("disk"));
    let data_dir = disk.directory.join("data");
    let mut cluster = Cluster::start_with(1, &["--data-dir", data_dir.to_str().unwrap()]);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let key = Bytes::from(format!("key-{number:04}"));
        let value = value_of(number);
        match cluster.wait(cluster.client().put(key.clone(), value, PutOptions::default())) {
            Ok(_) => acknowledged.push(key),
            Err(_) => break,
        }
        assert!(number < 1_000, "half a gigabyte fits on a disk of 100 MB");
    }
    assert!(acknowledged.len() > 50, "the disk was full after {} writes", acknowledged.len());
    cluster.await_end(0);
    let log = cluster.nodes[0].log();
    let said = log.lines().filter(|line| line.contains("No space left on device")).count();
    assert!(said >= 1, "it never said why:\n{log}");
    // Full is full: it does not start either, and says so.
    cluster.verb(&["start"]).failed_saying(&["node-1"]);

    disk.make_room();
    cluster.start_missing();
    for (number, key) in acknowledged.into_iter().enumerate() {
        let found = cluster.wait(cluster.client().get(key.clone(), GetOptions::default())).unwrap();
        assert_eq!(found.key_values.len(), 1, "{key:?} was acknowledged and is lost");
        assert!(found.key_values[0].value == value_of(number), "{key:?} differs");
    }
    cluster.verb(&["put", "after", "all"]).succeeded();
    drop(cluster);
}

fn value_of(number: usize) -> Bytes {
    Bytes::from(vec![b'a' + (number % 26) as u8; VALUE_BYTES])
}
