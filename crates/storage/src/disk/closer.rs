//! Giving up what a large file held.
//!
//! Whoever removes a large file, or closes a removed one last, waits until the system has given up its memory and its blocks:
//! 0.2 ms a MiB. On a disk that is told of free blocks at once (`discard`) everybody's syncs wait with it. So it is done on a
//! thread of its own, and bit by bit.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

type Task = Box<dyn FnOnce() + Send>;

/// Does things one after the other on a thread that yields to everybody else. The thread begins with the first of them and
/// ends, once all are done, when this is dropped.
#[derive(Default)]
pub(super) struct Closer {
    /// `None` if no thread was to be had.
    thread: OnceLock<Option<Sender<Task>>>,
}

/// The niceness of the thread: nobody waits for it.
const NICENESS: i32 = 10;
/// How much of a file is given up at a time.
const STEP_BYTES: u64 = 1 << 20;
/// The rest after a step, in times of what the step took, in which the disk is the others'.
const REST_FACTOR: u32 = 3;

impl Closer {
    /// Does it sooner or later; not at all, but for dropping it at once, if there is no thread.
    pub(super) fn later(&self, task: impl FnOnce() + Send + 'static) {
        let thread = self.thread.get_or_init(|| {
            start().inspect_err(|error| tracing::warn!("files are removed while others wait: {error}")).ok()
        });
        if let Some(sender) = thread {
            // The thread has ended only if a task panicked; what is refused is dropped here.
            let _ = sender.send(Box::new(task));
        }
    }
}

/// Cuts a file that has no name any more, of so many bytes, until nothing of it is left.
pub(super) fn give_up(file: &File, bytes: u64) {
    let mut left = bytes;
    while left > 0 {
        left = left.saturating_sub(STEP_BYTES);
        let begun = Instant::now();
        if let Err(error) = file.set_len(left) {
            // All of it goes when it is closed.
            return tracing::debug!("a removed file is given up at once: {error}");
        }
        thread::sleep(begun.elapsed() * REST_FACTOR);
    }
}

fn start() -> io::Result<Sender<Task>> {
    let (sender, tasks) = channel();
    thread::Builder::new().name("closer".to_owned()).spawn(move || work(&tasks))?;
    Ok(sender)
}

fn work(tasks: &Receiver<Task>) {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("files are given up at the usual priority: {error}");
    }
    tasks.iter().for_each(|task| task());
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").finish_non_exhaustive()
    }
}
