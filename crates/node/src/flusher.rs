//! Where the log is written and synced: by the driver itself while that is quick and nobody reads, or beside it.
//!
//! On a disk that syncs in a tenth of a millisecond to hand the sync to another thread and to be told of its end costs more
//! than it saves, if all there is to do is to write. On one that takes milliseconds, acknowledgements and messages would wait
//! for it, again and again; and on any disk reads would, which want nothing of it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use prometheus_client::metrics::histogram::Histogram;

use crate::journal::{FlushJob, Flushed};

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
    /// [`reads_begun`](crate::host::Host::reads_begun) at the last flush.
    reads_begun: u64,
    /// How many flushes there were since it rose.
    flushes_since_read: u32,
    seconds: Histogram,
}

/// How many flushes the average is over, roughly.
const AVERAGED: u32 = 8;

/// After so many flushes without a read nobody is taken to read. Few, since writes alone fill no more than a few milliseconds
/// with them.
const FLUSHES_READ_FOR: u32 = 16;

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
        Ok(Self {
            jobs,
            thread,
            is_busy: false,
            inline_max,
            average: inline_max,
            reads_begun: 0,
            flushes_since_read: FLUSHES_READ_FOR,
            seconds,
        })
    }

    /// Whether the thread has a job whose outcome was not taken yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Runs a job here and returns what it did; or has the thread run it. Wants to know how many reads the groups
    /// [have had](crate::host::Host::reads_begun).
    ///
    /// # Panics
    /// If the thread has one.
    pub(crate) fn flush(&mut self, job: FlushJob, reads_begun: u64) -> Option<Flushed> {
        assert!(!self.is_busy, "one job at a time");
        if self.nobody_minds(reads_begun) {
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

    /// Whether the next flush may hold up everything else.
    fn nobody_minds(&mut self, reads_begun: u64) -> bool {
        let has_read = reads_begun != self.reads_begun;
        self.reads_begun = reads_begun;
        self.flushes_since_read = if has_read { 0 } else { self.flushes_since_read.saturating_add(1) };
        let is_quick = self.average <= self.inline_max && !self.inline_max.is_zero();
        is_quick && self.flushes_since_read >= FLUSHES_READ_FOR
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(700);

    fn flusher(inline_max: Duration) -> Flusher {
        Flusher::start(inline_max, Histogram::new([1.0]), |_| {}).unwrap()
    }

    #[test]
    fn nobody_minds_until_somebody_reads_and_again_when_nobody_has_for_a_while() {
        let mut flusher = flusher(QUICK);
        assert!(flusher.nobody_minds(0));
        assert!(!flusher.nobody_minds(5));
        for flush in 1..FLUSHES_READ_FOR {
            assert!(!flusher.nobody_minds(5), "flush {flush}");
        }
        assert!(flusher.nobody_minds(5));
        assert!(!flusher.nobody_minds(6));
    }

    #[test]
    fn a_slow_disk_is_minded_and_one_that_became_quick_is_not() {
        let mut flusher = flusher(QUICK);
        flusher.note(QUICK * 20);
        assert!(!flusher.nobody_minds(0));
        for _ in 0..100 {
            flusher.note(QUICK / 2);
        }
        assert!(flusher.nobody_minds(0));
    }

    #[test]
    fn with_a_limit_of_nothing_every_flush_is_minded() {
        assert!(!flusher(Duration::ZERO).nobody_minds(0));
    }
}
