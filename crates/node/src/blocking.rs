//! Waiting for a future without an async runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Waits for a future of a [`Handle`](crate::Handle), on the calling thread.
///
/// Those futures need no runtime: whatever executor a program has may poll them instead. Code that runs on an executor
/// awaits them there, because this would block its thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // It may return early, and returns at once if the waker was called meanwhile.
            Poll::Pending => thread::park(),
        }
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_future_that_is_ready_is_not_waited_for() {
        assert_eq!(block_on(async { 7 }), 7);
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let (sender, receiver) = oneshot::channel();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            sender.send(7).unwrap();
        });
        assert_eq!(block_on(receiver), Ok(7));
        thread.join().unwrap();
    }
}
