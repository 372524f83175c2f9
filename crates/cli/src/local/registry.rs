//! The registry: one JSON file for each cluster, replaced in one step.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use super::cluster::LocalCluster;
use super::name::ClusterName;
use crate::failure::{Doing, Failure, Result};

/// The version of the files; a file of another version is refused.
const FORMAT: u32 = 1;

/// Where this user's clusters are remembered and, unless told otherwise, kept.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    directory: PathBuf,
}

/// Held while a verb changes a cluster, so that two don't do it at once. Ends when dropped.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    #[serde(flatten)]
    cluster: LocalCluster,
}

impl Home {
    /// `RUVECTOR_HOME`, or the place for a program's data on this system.
    pub(crate) fn find() -> Result<Self> {
        let given = std::env::var_os("RUVECTOR_HOME").filter(|value| !value.is_empty());
        let directory = match given {
            Some(directory) => PathBuf::from(directory),
            None => etcetera::choose_base_strategy()
                .map_err(|error| Failure::failed(format!("{error}: set RUVECTOR_HOME to a directory")))?
                .data_dir()
                .join("ruvector"),
        };
        let directory =
            std::path::absolute(&directory).doing(|| format!("use {} as home", directory.display()))?;
        Ok(Self { directory })
    }

    /// Where `init` keeps a cluster unless told otherwise.
    pub(crate) fn data_directory(&self, name: &ClusterName) -> PathBuf {
        self.directory.join("data").join(name.as_str())
    }

    /// The cluster of this name.
    pub(crate) fn cluster(&self, name: &ClusterName) -> Result<LocalCluster> {
        match self.load(name)? {
            Some(cluster) => Ok(cluster),
            None => Err(Failure::failed(format!(
                "no cluster `{name}` is remembered here ({}); make it with `ruvector consensus init --name {name}`",
                self.known_names()?
            ))),
        }
    }

    /// The cluster that is meant when none is named: the only one, or the one named `default`.
    pub(crate) fn cluster_meant(&self) -> Result<LocalCluster> {
        let mut clusters = self.clusters()?;
        if let Some(position) = clusters.iter().position(|cluster| cluster.name.is_default()) {
            return Ok(clusters.swap_remove(position));
        }
        match clusters.len() {
            0 => Err(Failure::failed(
                "no cluster is remembered on this machine: make one with `ruvector consensus init`, or say where the \
                 nodes are with --endpoints HOST:PORT,…",
            )),
            1 => Ok(clusters.remove(0)),
            _ => Err(Failure::usage(format!(
                "several clusters run on this machine ({}): choose one with --cluster NAME",
                self.known_names()?
            ))),
        }
    }

    /// All remembered clusters, by name.
    pub(crate) fn clusters(&self) -> Result<Vec<LocalCluster>> {
        let mut clusters = Vec::new();
        for name in self.names()? {
            clusters.extend(self.load(&name)?);
        }
        Ok(clusters)
    }

    /// The cluster of this name, if it is remembered.
    pub(crate) fn load(&self, name: &ClusterName) -> Result<Option<LocalCluster>> {
        let path = self.record_path(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing(|| format!("read {}", path.display())),
        };
        let damaged = |reason: String| {
            Failure::failed(format!("{} is damaged ({reason}): repair or remove it", path.display()))
        };
        let record: Record = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if record.format != FORMAT {
            return Err(damaged(format!("its format is {}, this program knows {FORMAT}", record.format)));
        }
        if record.cluster.name != *name {
            return Err(damaged(format!("it is about a cluster named `{}`", record.cluster.name)));
        }
        Ok(Some(record.cluster))
    }

    /// Remembers a cluster, in place of what was remembered under its name.
    pub(crate) fn save(&self, cluster: &LocalCluster) -> Result {
        let record = Record { format: FORMAT, cluster: cluster.clone() };
        let text =
            serde_json::to_string_pretty(&record).expect("paths of a cluster were typed as UTF-8 or refused");
        let path = self.record_path(&cluster.name);
        let temporary = path.with_extension("json.new");
        write_durably(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, &path))
            .doing(|| format!("write {}", path.display()))
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, name: &ClusterName) -> Result {
        let path = self.record_path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps every other `ruvector` command from changing this cluster meanwhile.
    pub(crate) fn lock(&self, name: &ClusterName) -> Result<ClusterLock> {
        let directory = self.registry_directory();
        fs::create_dir_all(&directory).doing(|| format!("make {}", directory.display()))?;
        let path = directory.join(format!("{name}.lock"));
        let file = File::create(&path).doing(|| format!("write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(ClusterLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another `ruvector` command is working on cluster `{name}`: wait until it is done"
            ))),
            Err(TryLockError::Error(error)) => Err(error).doing(|| format!("lock {}", path.display())),
        }
    }

    /// The names of all remembered clusters, sorted.
    fn names(&self) -> Result<Vec<ClusterName>> {
        let directory = self.registry_directory();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).doing(|| format!("read {}", directory.display())),
        };
        let mut names: Vec<ClusterName> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn known_names(&self) -> Result<String> {
        let names = self.names()?;
        if names.is_empty() {
            return Ok("none is".to_owned());
        }
        Ok(names.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", "))
    }

    fn registry_directory(&self) -> PathBuf {
        self.directory.join("clusters")
    }

    fn record_path(&self, name: &ClusterName) -> PathBuf {
        self.registry_directory().join(format!("{name}.json"))
    }
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> ClusterName {
        text.parse().unwrap()
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home { directory: directory.path().to_owned() };
        (directory, home)
    }

    fn remember(home: &Home, text: &str) -> LocalCluster {
        let cluster = LocalCluster::lay_out(name(text), home.data_directory(&name(text)), 3, 7400);
        home.save(&cluster).unwrap();
        cluster
    }

    #[test]
    fn what_is_remembered_is_found_and_forgotten() {
        let (_directory, home) = home();
        assert_eq!(home.load(&name("a")).unwrap(), None);
        let cluster = remember(&home, "a");
        assert_eq!(home.load(&name("a")).unwrap(), Some(cluster.clone()));
        assert_eq!(home.clusters().unwrap(), [cluster]);
        home.forget(&name("a")).unwrap();
        home.forget(&name("a")).unwrap();
        assert_eq!(home.clusters().unwrap(), []);
    }

    #[test]
    fn the_cluster_meant_is_the_only_one_or_the_default() {
        let (_directory, home) = home();
        assert!(matches!(home.cluster_meant(), Err(Failure::Failed { text, .. }) if text.contains("init")));
        let only = remember(&home, "a");
        assert_eq!(home.cluster_meant().unwrap(), only);
        remember(&home, "b");
        assert!(matches!(home.cluster_meant(), Err(Failure::Usage(text)) if text.contains("a, b")));
        let default = remember(&home, "default");
        assert_eq!(home.cluster_meant().unwrap(), default);
    }

    #[test]
    fn a_damaged_record_is_named_and_not_guessed() {
        let (_directory, home) = home();
        remember(&home, "a");
        for (text, reason) in [
            ("{", "EOF"),
            (r#"{"format":2,"name":"a","cluster_id":null,"directory":"/d","nodes":[]}"#, "format is 2"),
            (r#"{"format":1,"name":"b","cluster_id":null,"directory":"/d","nodes":[]}"#, "named `b`"),
            (r#"{"format":1,"name":"../x","cluster_id":null,"directory":"/d","nodes":[]}"#, "a name has"),
        ] {
            fs::write(home.record_path(&name("a")), text).unwrap();
            let Err(Failure::Failed { text: message, .. }) = home.load(&name("a")) else {
                panic!("{text} was taken")
            };
            assert!(message.contains(reason) && message.contains("a.json"), "{message}");
        }
    }

    #[test]
    fn a_cluster_is_changed_by_one_command_at_a_time() {
        let (_directory, home) = home();
        let lock = home.lock(&name("a")).unwrap();
        assert!(
            matches!(home.lock(&name("a")), Err(Failure::Failed { text, .. }) if text.contains("another"))
        );
        home.lock(&name("b")).unwrap();
        drop(lock);
        home.lock(&name("a")).unwrap();
    }
}
