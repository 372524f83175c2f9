//! When the driver is woken for requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ruvector_transport::Bell;
use tokio::sync::Notify;

/// Something that wakes the driver.
pub(crate) trait Ring {
    /// Ends the driver's wait, or keeps it from beginning one.
    fn ring(&self);
}

impl Ring for Bell {
    fn ring(&self) {
        Self::ring(self);
    }
}

/// Wakes the driver for requests: for each at once, or for many with one ring.
///
/// A driver that is woken for the first of many requests takes a processor from the thread that is about to make the others,
/// and finds one. So the ring is left to a task of that thread's runtime, which comes after those that are ready already.
///
/// No ring is lost: whoever finds one due has put its request there before the task takes that mark away, and the task rings
/// after it did. A task that ends rings once more, and who left a ring to it meanwhile sees that it is gone.
#[derive(Debug)]
pub(crate) struct Ringer<B = Bell> {
    bell: B,
    has_task: AtomicBool,
    is_due: AtomicBool,
    due: Notify,
}

impl<B: Ring> Ringer<B> {
    pub(crate) fn new(bell: B) -> Self {
        Self { bell, has_task: AtomicBool::new(false), is_due: AtomicBool::new(false), due: Notify::new() }
    }

    /// Rings at once.
    pub(crate) fn ring_now(&self) {
        self.bell.ring();
    }

    /// Rings when those tasks have run that are ready now, if there is a task that does; otherwise at once.
    pub(crate) fn ring_soon(&self) {
        if self.has_task.load(Ordering::SeqCst) {
            if !self.is_due.swap(true, Ordering::SeqCst) {
                self.due.notify_one();
            }
            if self.has_task.load(Ordering::SeqCst) {
                return;
            }
        }
        self.bell.ring();
    }

    /// Rings for many, as long as this is polled. There must be one such task at most.
    pub(crate) async fn ring_for_many(self: Arc<Self>) {
        self.has_task.store(true, Ordering::SeqCst);
        let on_duty = OnDuty(self);
        loop {
            on_duty.0.due.notified().await;
            on_duty.0.ring_for_all();
        }
    }

    fn ring_for_all(&self) {
        self.is_due.store(false, Ordering::SeqCst);
        self.bell.ring();
    }
}

/// Has every request ring for itself again when the task ends.
struct OnDuty<B: Ring>(Arc<Ringer<B>>);

impl<B: Ring> Drop for OnDuty<B> {
    fn drop(&mut self) {
        self.0.has_task.store(false, Ordering::SeqCst);
        self.0.ring_for_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::task::yield_now;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Ring for Count {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ringer() -> Arc<Ringer<Count>> {
        Arc::new(Ringer::new(Count::default()))
    }

    fn rings(ringer: &Ringer<Count>) -> usize {
        ringer.bell.0.load(Ordering::SeqCst)
    }

    #[test]
    fn without_a_task_each_request_rings() {
        let ringer = ringer();
        for count in 1..=3 {
            ringer.ring_soon();
            assert_eq!(rings(&ringer), count);
        }
    }

    #[tokio::test]
    async fn a_task_rings_once_for_all_tasks_that_are_ready() {
        let ringer = ringer();
        let _task = tokio::spawn(Arc::clone(&ringer).ring_for_many());
        yield_now().await;
        for round in 1..=3 {
            let asking: Vec<_> = (0..7)
                .map(|_| {
                    let ringer = Arc::clone(&ringer);
                    tokio::spawn(async move { ringer.ring_soon() })
                })
                .collect();
            for task in asking {
                task.await.unwrap();
            }
            yield_now().await;
            assert_eq!(rings(&ringer), round);
        }
    }

    #[tokio::test]
    async fn what_is_left_to_a_task_that_ends_is_rung_for() {
        let ringer = ringer();
        let task = tokio::spawn(Arc::clone(&ringer).ring_for_many());
        yield_now().await;
        ringer.ring_soon();
        assert_eq!(rings(&ringer), 0);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(rings(&ringer), 1);
        ringer.ring_soon();
        assert_eq!(rings(&ringer), 2);
    }
}
