//! Closing what takes long to close.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Drops what it is given, one after the other, on a thread that yields to everybody else. The thread begins with the first
/// and ends, once all are dropped, when this is.
#[derive(Default)]
pub(super) struct Closer {
    /// `None` if no thread was to be had.
    thread: OnceLock<Option<Sender<Box<dyn Send>>>>,
}

/// The niceness of the thread: it has work for milliseconds at a time, and nobody waits for it.
const NICENESS: i32 = 10;

impl Closer {
    /// Drops `item` sooner or later; at once if there is no thread for it.
    pub(super) fn close(&self, item: impl Send + 'static) {
        let thread = self.thread.get_or_init(|| {
            start().inspect_err(|error| tracing::warn!("files are closed while others wait: {error}")).ok()
        });
        if let Some(sender) = thread {
            // The thread ends before this only if dropping something panicked; what is refused is dropped here.
            let _ = sender.send(Box::new(item));
        }
    }
}

fn start() -> io::Result<Sender<Box<dyn Send>>> {
    let (sender, items) = channel();
    thread::Builder::new().name("closer".to_owned()).spawn(move || work(&items))?;
    Ok(sender)
}

fn work(items: &Receiver<Box<dyn Send>>) {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("files are closed at the usual priority: {error}");
    }
    items.iter().for_each(drop);
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").finish_non_exhaustive()
    }
}
