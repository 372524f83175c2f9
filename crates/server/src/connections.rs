//! Which connections a node keeps when there are as many as it takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ruvector_node::daemon::Share;
use tokio::sync::Notify;

/// So many connections are taken beyond the limit, for those who look what is wrong: they get health, metrics and administration.
pub(crate) const RESERVED: usize = 64;
/// So many connections are looked at, at most, to find one that is idle.
const LOOKS_MAX: usize = 16_384;

/// The open connections. When there are too many, one on which nothing is asked is closed for each that comes; where all are in
/// use, a few more are taken for health, metrics and administration.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: usize,
    /// Those to close when room is needed, in the order in which they are looked at.
    open: Mutex<VecDeque<Weak<Connection>>>,
    usual: AtomicUsize,
    reserved: AtomicUsize,
    ended: Notify,
}

/// An open connection, as long as this exists.
#[derive(Debug)]
pub(crate) struct Connection {
    all: Arc<Connections>,
    /// Nothing is held for a client that asks nothing.
    shares: [Arc<Share>; 2],
    /// It was used since it was last looked at.
    used: AtomicBool,
    /// One of the states below.
    state: AtomicU8,
    close: Notify,
}

const USUAL: u8 = 0;
/// One of those beyond the limit.
const RESERVED_ONE: u8 = 1;
/// It ended or was told to, and no longer counts.
const ENDED: u8 = 2;

impl Connections {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
            usual: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            ended: Notify::new(),
        })
    }

    /// Takes a connection in; `None` if there are too many.
    pub(crate) fn admit(self: &Arc<Self>, shares: [Arc<Share>; 2]) -> Option<Arc<Connection>> {
        let is_full = self.usual.load(Ordering::Relaxed) >= self.limit;
        let is_reserved = is_full && !self.close_an_idle_one();
        if is_reserved && self.reserved.load(Ordering::Relaxed) >= RESERVED && !self.close_a_reserved_one() {
            return None;
        }
        let state = if is_reserved { RESERVED_ONE } else { USUAL };
        self.count(state).fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            all: Arc::clone(self),
            shares,
            used: AtomicBool::new(false),
            state: AtomicU8::new(state),
            close: Notify::new(),
        });
        let mut open = self.lock();
        // Those that are gone are taken out when there are as many of them as others.
        let kept = self.usual.load(Ordering::Relaxed) + self.reserved.load(Ordering::Relaxed);
        if open.len() > 2 * kept + RESERVED {
            open.retain(|connection| connection.strong_count() > 0);
        }
        open.push_back(Arc::downgrade(&connection));
        drop(open);
        Some(connection)
    }

    /// Waits until none is left.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().iter().all(|connection| connection.strong_count() == 0) {
                return;
            }
            ended.await;
        }
    }

    /// Closes a connection on which nothing is asked, if there is one: the system has no room for another.
    pub(crate) fn make_room(&self) {
        self.close_an_idle_one();
    }

    fn close_an_idle_one(&self) -> bool {
        self.close_first(USUAL)
    }

    fn close_a_reserved_one(&self) -> bool {
        self.close_first(RESERVED_ONE)
    }

    /// Closes the first idle one of a kind that was not used since it was last looked at.
    fn close_first(&self, state: u8) -> bool {
        let mut open = self.lock();
        for _ in 0..LOOKS_MAX.min(2 * open.len()) {
            let Some(next) = open.pop_front() else { return false };
            let Some(connection) = next.upgrade() else { continue };
            if connection.state.load(Ordering::Relaxed) == state
                && !connection.used.swap(false, Ordering::Relaxed)
                && connection.is_idle()
            {
                connection.end();
                connection.close.notify_one();
                return true;
            }
            open.push_back(next);
        }
        false
    }

    fn count(&self, state: u8) -> &AtomicUsize {
        if state == RESERVED_ONE { &self.reserved } else { &self.usual }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<Connection>>> {
        // Nothing panics while it holds the lock, and no connection takes it when it is dropped.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Something is asked on it.
    pub(crate) fn used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Waits until it is to be closed.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    fn is_idle(&self) -> bool {
        self.shares.iter().all(|share| share.held() == 0)
    }

    /// Whether everything may be asked on it: where it is one of those beyond the limit, whether there is room for it now.
    pub(crate) fn is_usual(&self) -> bool {
        if self.state.load(Ordering::Relaxed) != RESERVED_ONE {
            return true;
        }
        let all = &self.all;
        if all.usual.load(Ordering::Relaxed) >= all.limit && !all.close_an_idle_one() {
            return false;
        }
        all.usual.fetch_add(1, Ordering::Relaxed);
        let moved =
            self.state.compare_exchange(RESERVED_ONE, USUAL, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Otherwise it was told to end in this moment.
        all.count(if moved { RESERVED_ONE } else { USUAL }).fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Counts it no more.
    fn end(&self) {
        let before = self.state.swap(ENDED, Ordering::Relaxed);
        if before != ENDED {
            self.all.count(before).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
        self.all.ended.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;
    use ruvector_node::daemon::Budget;

    use super::*;

    struct Taken {
        connection: Arc<Connection>,
        share: Arc<Share>,
    }

    fn take(all: &Arc<Connections>, budget: &Arc<Budget>) -> Option<Taken> {
        let share = budget.share();
        let connection = all.admit([Arc::clone(&share), budget.share()])?;
        Some(Taken { connection, share })
    }

    fn was_closed(taken: &Taken) -> bool {
        taken.connection.closed().now_or_never().is_some()
    }

    fn is_usual(taken: &Taken) -> bool {
        taken.connection.state.load(Ordering::Relaxed) == USUAL
    }

    #[test]
    fn one_that_is_idle_makes_room_and_none_that_is_used() {
        let (all, budget) = (Connections::new(3), Budget::new(1_000));
        let open: Vec<_> = (0..3).map(|_| take(&all, &budget).unwrap()).collect();
        let _calls = [0, 2].map(|number: usize| open[number].share.take(1).unwrap());
        let next = take(&all, &budget).unwrap();
        assert!(is_usual(&next));
        assert_eq!(open.iter().map(was_closed).collect::<Vec<_>>(), [false, true, false]);
        drop(open);
        let again = take(&all, &budget).unwrap();
        assert!(is_usual(&again) && !was_closed(&next), "there is room");
    }

    #[test]
    fn the_one_that_was_used_last_is_closed_last() {
        let (all, budget) = (Connections::new(3), Budget::new(1_000));
        let open: Vec<_> = (0..3).map(|_| take(&all, &budget).unwrap()).collect();
        open.iter().for_each(|taken| taken.connection.used());
        let _first = take(&all, &budget).unwrap();
        assert_eq!(open.iter().map(was_closed).collect::<Vec<_>>(), [true, false, false]);
        open[1].connection.used();
        let _second = take(&all, &budget).unwrap();
        assert!(was_closed(&open[2]) && !was_closed(&open[1]));
    }

    #[test]
    fn when_all_are_used_a_few_more_are_taken_for_those_who_look() {
        let (all, budget) = (Connections::new(2), Budget::new(1 << 20));
        let open: Vec<_> = (0..2).map(|_| take(&all, &budget).unwrap()).collect();
        let calls: Vec<_> = open.iter().map(|taken| taken.share.take(1).unwrap()).collect();
        let looking: Vec<_> = (0..RESERVED).map(|_| take(&all, &budget).unwrap()).collect();
        assert!(!looking.iter().any(|taken| taken.connection.is_usual()));
        let looks: Vec<_> = looking.iter().map(|taken| taken.share.take(1).unwrap()).collect();
        assert!(take(&all, &budget).is_none());
        drop(looks);
        assert!(!is_usual(&take(&all, &budget).unwrap()));
        assert_eq!(looking.iter().filter(|taken| was_closed(taken)).count(), 1);
        drop(calls);
        assert!(looking[40].connection.is_usual(), "now there is room for it");
        assert_eq!(open.iter().filter(|taken| was_closed(taken)).count(), 1);
        drop((open, looking));
        assert!(is_usual(&take(&all, &budget).unwrap()));
        assert_eq!((all.usual.load(Ordering::Relaxed), all.reserved.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn those_that_are_gone_are_not_remembered() {
        let (all, budget) = (Connections::new(10), Budget::new(1_000));
        for _ in 0..1_000 {
            take(&all, &budget).unwrap();
        }
        assert!(all.lock().len() <= RESERVED + 3);
        assert!(all.all_ended().now_or_never().is_some());
    }
}
