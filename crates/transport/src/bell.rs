//! What ends a wait of the transport's owner.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::wake::Waker;

/// Ends [`Transport::wait`](crate::Transport::wait) from another thread: ring it after there is something to do. It costs
/// a system call only if the owner sleeps.
///
/// No ring is lost: the owner says that it will sleep and then looks for something to do; whoever has something to do
/// for it first puts it there and then looks whether the owner sleeps. A fence between the two steps of either side
/// makes sure that at least one of them sees the other.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    owner_sleeps: AtomicBool,
    waker: Waker,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner { owner_sleeps: AtomicBool::new(false), waker: Waker::new()? })))
    }

    /// Ends the wait of the owner, or keeps it from beginning one.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        let sleeps = &self.0.owner_sleeps;
        if sleeps.load(Ordering::Relaxed) && sleeps.swap(false, Ordering::Relaxed) {
            self.0.waker.wake();
        }
    }

    /// From now on a ring ends the wait on the waker that comes next. What was to be done before is not rung for: the
    /// owner must look for it after this.
    pub(crate) fn fall_asleep(&self) -> &Waker {
        self.0.owner_sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        &self.0.waker
    }

    /// The wait is over; rings need not wake any more.
    pub(crate) fn awake(&self) {
        self.0.owner_sleeps.store(false, Ordering::Relaxed);
    }
}
