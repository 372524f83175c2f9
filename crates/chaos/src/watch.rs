//! Watches that last through all faults, and what they must never do.
//!
//! A [`Watcher`] watches all keys of the load at one node. When its stream breaks it begins another one behind the
//! last revision that it knows to be complete, as etcd's clients do. An [`Observer`] judges what it sees.

mod observer;
mod stream;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use observer::lock;
pub use observer::{Change, Observer, compare};

use crate::group::Group;
use crate::network::Place;
use crate::patience::Patience;

/// A watch from the first revision on; ended when dropped.
#[derive(Debug)]
pub struct Watcher {
    observer: Arc<Mutex<Observer>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch a group's keys at a node.
    #[must_use]
    pub fn start(runtime: &Runtime, group: Group, place: Place, name: &str) -> Self {
        let observer = Arc::new(Mutex::new(Observer::new(name)));
        let task = runtime.spawn(stream::follow(group, place, Arc::clone(&observer)));
        Self { observer, task }
    }

    /// Waits until everything up to a revision is seen; then, or when the limit is reached, ends the watch.
    ///
    /// # Errors
    /// If the run is to end.
    pub fn finish(self, revision: i64, limit: Duration, patience: &Patience) -> Result<Observer> {
        patience.wait(limit, || Ok((lock(&self.observer).last_revision() >= revision).then_some(())))?;
        self.task.abort();
        let mut observer = lock(&self.observer).clone();
        observer.require(revision);
        Ok(observer)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
