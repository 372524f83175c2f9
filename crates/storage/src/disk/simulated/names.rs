//! The directory tree of a simulated disk, as seen and as durable.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::chooser::Chooser;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    seen: Tree,
    durable: Tree,
    /// By directory, in the order they were made.
    unsynced: BTreeMap<String, Vec<NameChange>>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { name: String, file: usize },
    CreateDirectory(String),
    Rename { from: String, to: String },
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Tree {
    files: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.seen.files.get(name).copied()
    }

    /// The numbers of all files that have a name.
    pub(super) fn files(&self) -> impl Iterator<Item = usize> {
        self.seen.files.values().copied()
    }

    pub(super) fn is_directory(&self, name: &str) -> bool {
        name.is_empty() || self.seen.directories.contains(name)
    }

    pub(super) fn list(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = (self.seen.files.keys().chain(&self.seen.directories))
            .filter(|name| parent(name) == directory)
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn change(&mut self, change: NameChange) -> io::Result<()> {
        let directory = change.directory().to_owned();
        if !self.is_directory(&directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !self.seen.apply(&change) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.unsynced.entry(directory).or_default().push(change);
        Ok(())
    }

    /// Makes a change that is durable at once.
    pub(super) fn place(&mut self, change: NameChange) -> io::Result<()> {
        let directory = change.directory().to_owned();
        self.change(change)?;
        self.sync(&directory)
    }

    pub(super) fn sync(&mut self, directory: &str) -> io::Result<()> {
        if !self.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for change in self.unsynced.remove(directory).unwrap_or_default() {
            self.durable.apply(&change);
        }
        Ok(())
    }

    pub(super) fn lose_power(&mut self, choose: &mut Chooser) {
        for (_, changes) in std::mem::take(&mut self.unsynced) {
            let surviving = choose.prefix(changes.len());
            for change in &changes[..surviving] {
                self.durable.apply(change);
            }
        }
        self.durable.drop_orphans();
        self.seen = self.durable.clone();
    }
}

impl NameChange {
    fn directory(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::CreateDirectory(name) | Self::Remove(name) => parent(name),
            Self::Rename { from, to } => {
                assert_eq!(parent(from), parent(to), "storage renames within a directory only");
                parent(to)
            }
        }
    }
}

impl Tree {
    /// Returns false if the change names a file that is not there.
    fn apply(&mut self, change: &NameChange) -> bool {
        match change {
            NameChange::Create { name, file } => {
                self.files.insert(name.clone(), *file);
                true
            }
            NameChange::CreateDirectory(name) => {
                self.directories.insert(name.clone());
                true
            }
            NameChange::Rename { from, to } => match self.files.remove(from) {
                Some(file) => {
                    self.files.insert(to.clone(), file);
                    true
                }
                None => false,
            },
            NameChange::Remove(name) => self.files.remove(name).is_some(),
        }
    }

    /// What is in a directory whose own name was lost is lost with it.
    fn drop_orphans(&mut self) {
        let reachable: BTreeSet<String> = (self.directories.iter())
            .filter(|name| with_parents(name).all(|part| self.directories.contains(part)))
            .cloned()
            .collect();
        self.files.retain(|name, _| parent(name).is_empty() || reachable.contains(parent(name)));
        self.directories = reachable;
    }
}

/// The directory that a name is in; `""` is the root.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `a`, `a/b` and `a/b/c` for `a/b/c`.
pub(super) fn with_parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at]).chain(std::iter::once(name))
}
