//! Waiting for something, but not for ever, and not after the user has lost patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Knows whether the user wants the run to end.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    lost: Arc<AtomicBool>,
}

impl Patience {
    /// From now on, Ctrl-C and SIGTERM do not end this process but every waiting.
    ///
    /// # Errors
    /// If the system refuses to tell of them.
    pub fn listen() -> Result<Self> {
        let patience = Self::default();
        let lost = Arc::clone(&patience.lost);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let context = runtime.enter();
        let (mut interrupts, mut terminations) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(context);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
            });
            lost.store(true, Ordering::Relaxed);
        });
        Ok(patience)
    }

    /// Does nothing for a time.
    ///
    /// # Errors
    /// If the user wants the run to end.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        self.wait(time, || Ok(None::<()>)).map(drop)
    }

    /// Waits until `look` finds something, at most for `limit`.
    ///
    /// # Errors
    /// What `look` fails with, or that the user wants the run to end.
    pub fn wait<T>(&self, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let begun = Instant::now();
        loop {
            ensure!(!self.lost.load(Ordering::Relaxed), "interrupted");
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(LOOK_INTERVAL));
        }
    }
}
