//! Where the log is written and synced: by the driver itself while that is quick, or beside it.
//!
//! On a disk that syncs in a tenth of a millisecond to hand the sync to another thread and to be told of its end costs about
//! as much as it saves. On one that takes milliseconds, acknowledgements, reads and messages would wait for it, again
//! and again.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use prometheus_client::metrics::histogram::Histogram;

use crate::replica::{FlushJob, Flushed};

/// What became of a job on the thread.
#[derive(Debug)]
pub(crate) struct FlushOutcome {
    /// Its result; the panic if an invariant was broken.
    result: Result<Flushed, Box<dyn Any + Send>>,
    took: Duration,
}

/// Runs flushes, one at a time. Dropping it waits for the one that is at work: nobody else may open the data directory
/// before.
#[derive(Debug)]
pub(crate) struct Flusher {
    jobs: Option<Sender<FlushJob>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
    inline_max: Duration,
    /// How long flushes took of late.
    average: Duration,
    seconds: Histogram,
}

/// How many flushes the average is over, roughly.
const AVERAGED: u32 = 8;

impl Flusher {
    /// Starts the thread. `tell` is called on it with what became of each job; [`take`](Self::take) wants that.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(
        inline_max: Duration,
        seconds: Histogram,
        tell: impl Fn(FlushOutcome) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, received) = bounded(1);
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || work(&received, tell))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { jobs, thread, is_busy: false, inline_max, average: inline_max, seconds })
    }

    /// Whether the thread has a job whose outcome was not taken yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Runs a job here and returns what it did; or has the thread run it.
    ///
    /// # Panics
    /// If the thread has one.
    pub(crate) fn flush(&mut self, job: FlushJob) -> Option<Flushed> {
        assert!(!self.is_busy, "one job at a time");
        if self.average <= self.inline_max && !self.inline_max.is_zero() {
            let begun = Instant::now();
            let flushed = job.run();
            self.note(begun.elapsed());
            return Some(flushed);
        }
        self.is_busy = true;
        let jobs = self.jobs.as_ref().expect("there until dropped");
        jobs.send(job).expect("the thread ends when this is dropped");
        None
    }

    /// The thread's job has ended.
    ///
    /// # Panics
    /// As the job did.
    pub(crate) fn take(&mut self, outcome: FlushOutcome) -> Flushed {
        self.is_busy = false;
        self.note(outcome.took);
        outcome.result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn note(&mut self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.average = (self.average * (AVERAGED - 1) + took) / AVERAGED;
    }
}

fn work(jobs: &Receiver<FlushJob>, tell: impl Fn(FlushOutcome)) {
    for job in jobs {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| job.run()));
        tell(FlushOutcome { result, took: begun.elapsed() });
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It catches the panics of its jobs.
            let _ = thread.join();
        }
    }
}
