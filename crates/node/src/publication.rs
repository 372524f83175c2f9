//! The newest version of the state, for readers that do not ask the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use ruvector_protocol::{Index, LogPosition};
use tokio::sync::watch;

/// For how many versions after a read each is published at once.
const EAGER_VERSIONS: u32 = 64;

/// A version of the state that may be read.
#[derive(Clone, Debug)]
pub struct Published<V> {
    /// The version.
    pub view: V,
    /// The entry it is the state after.
    pub applied: LogPosition,
}

/// The newest version of the state. It is published at once while somebody reads or follows it, and otherwise
/// not before the driver is asked for it: a version that is held makes the state machine copy what it changes.
///
/// Invariant: what [`newest`](Self::newest) gives is the state after everything that the driver had applied
/// when it last answered anybody. The driver moves or retracts it before it answers.
#[derive(Debug)]
pub(crate) struct Publication<V> {
    current: ArcSwapOption<Published<V>>,
    /// How many more versions are published before the next read.
    eager: AtomicU32,
    applied: watch::Sender<Index>,
}

impl<V> Publication<V> {
    pub(crate) fn new(first: Published<V>) -> Self {
        Self {
            applied: watch::Sender::new(first.applied.index),
            current: ArcSwapOption::from_pointee(first),
            eager: AtomicU32::new(EAGER_VERSIONS),
        }
    }

    /// The newest version, or `None` if the driver has to be asked for it.
    pub(crate) fn newest(&self) -> Option<Arc<Published<V>>> {
        self.eager.store(EAGER_VERSIONS, Ordering::Relaxed);
        self.for_driver()
    }

    /// The same for the driver, whose readers need no version before they asked it.
    pub(crate) fn for_driver(&self) -> Option<Arc<Published<V>>> {
        self.current.load_full()
    }

    /// Changes whenever there is a newer version, published or not.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Index> {
        self.applied.subscribe()
    }

    /// The driver applied something, and is about to answer: publishes the version if somebody wants it, and
    /// otherwise retracts the one before.
    pub(crate) fn advance(&self, applied: Index, version: impl FnOnce() -> Published<V>) {
        let eager = self.eager.load(Ordering::Relaxed);
        if eager > 0 {
            // A read in between may be overwritten: then the next one may have to ask.
            self.eager.store(eager - 1, Ordering::Relaxed);
        }
        let is_wanted = eager > 0 || self.applied.receiver_count() > 0;
        self.current.store(is_wanted.then(|| Arc::new(version())));
        // Who subscribes in this moment may have found the version before: it notices now, and asks.
        self.applied.send_replace(applied);
    }

    /// Lets everyone read a version that the driver was asked for.
    pub(crate) fn publish(&self, version: Published<V>) -> Arc<Published<V>> {
        let version = Arc::new(version);
        self.current.store(Some(Arc::clone(&version)));
        version
    }
}

#[cfg(test)]
mod tests {
    use ruvector_protocol::Term;

    use super::*;

    fn version(index: u64) -> Published<u64> {
        Published { view: index, applied: LogPosition { term: Term(1), index: Index(index) } }
    }

    fn apply(publication: &Publication<u64>, index: u64) {
        publication.advance(Index(index), || version(index));
    }

    fn newest(publication: &Publication<u64>) -> Option<u64> {
        publication.newest().map(|published| published.view)
    }

    #[test]
    fn is_published_at_once_while_it_is_read() {
        let publication = Publication::new(version(0));
        for index in 1..1000 {
            apply(&publication, index);
            if index % u64::from(EAGER_VERSIONS) == 0 {
                assert_eq!(newest(&publication), Some(index));
            }
        }
    }

    #[test]
    fn is_never_older_than_what_was_applied() {
        let publication = Publication::new(version(0));
        for index in 1..1000 {
            apply(&publication, index);
        }
        assert_eq!(newest(&publication), None);
        apply(&publication, 1000);
        assert_eq!(newest(&publication), Some(1000), "somebody read a moment ago");
    }

    #[test]
    fn is_published_at_once_while_it_is_followed() {
        let publication = Publication::new(version(0));
        let follower = publication.subscribe();
        for index in 1..1000 {
            apply(&publication, index);
        }
        assert_eq!(newest(&publication), Some(999));
        drop(follower);
    }

    #[test]
    fn a_follower_notices_each_version() {
        let publication = Publication::new(version(0));
        let mut follower = publication.subscribe();
        for index in 1..1000 {
            apply(&publication, index);
            assert_eq!(*follower.borrow_and_update(), Index(index));
        }
    }

    #[test]
    fn what_the_driver_was_asked_for_is_there_for_the_next() {
        let publication = Publication::new(version(0));
        for index in 1..1000 {
            apply(&publication, index);
        }
        assert!(publication.for_driver().is_none());
        publication.publish(version(999));
        assert_eq!(newest(&publication), Some(999));
    }
}
