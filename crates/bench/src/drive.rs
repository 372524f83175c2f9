//! Drives workers, closed or open loop, and records what comes of it.
//!
//! Closed loop: each worker has one operation under way and begins the next when it ends. That tells how much a
//! system can do; its latencies are kind to a system that stalls, since nobody sends while all wait.
//!
//! Open loop: operations are due at a fixed rate, whatever the system does. A latency counts from when the
//! operation was *due*, so that a stall shows in all operations that it held up ("coordinated omission").

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::process::ProcessGroup;
use crate::recording::Recording;

/// An operation that takes longer has failed.
const OPERATION_LIMIT: Duration = Duration::from_secs(20);
/// After a failure, so that a server which refuses at once is not hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);
/// Operations are released in steps no shorter than this: waking up more often would take the servers' CPU.
const RELEASE_STEP: Duration = Duration::from_micros(100);

/// What does one operation after the other.
pub(crate) trait Worker: Send + 'static {
    /// Does one operation.
    fn perform(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// When operations begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// When the worker's last one has ended.
    Closed,
    /// At so many a second, over all workers.
    Open { per_second: f64 },
}

impl Pace {
    /// The rate of an open loop.
    pub(crate) fn per_second(self) -> Option<f64> {
        match self {
            Self::Closed => None,
            Self::Open { per_second } => Some(per_second),
        }
    }
}

/// How long a load runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// At first, without being recorded.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Lets the workers do their operations and records those that were due in the measured time. Those still under
/// way at its end are waited for: how long they take is part of the truth.
///
/// # Errors
/// If a worker panics or the nodes' CPU time can't be read. That operations fail is no error but in the recording.
pub(crate) async fn drive<W: Worker>(
    workers: Vec<W>,
    pace: Pace,
    span: Span,
    nodes: &ProcessGroup,
) -> Result<Recording> {
    let first = Instant::now();
    let begin = first + span.warm_up;
    let course =
        Arc::new(Course { begin, end: begin + span.measured, recording: Mutex::new(Recording::new()) });
    let mut tasks = JoinSet::new();
    let schedule = Schedule::new(pace, first, &course, workers.len())?;
    for worker in workers {
        let course = Arc::clone(&course);
        match &schedule {
            None => tasks.spawn(closed_loop(worker, course)),
            Some(schedule) => tasks.spawn(open_loop(worker, course, Arc::clone(schedule))),
        };
    }
    sleep_until(begin).await;
    let generator = ProcessGroup::own();
    let (cpu_before, generator_cpu_before) = (nodes.cpu_time()?, generator.cpu_time()?);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a worker ended before its time")?;
    }
    let mut recording = course.recording.lock().unwrap_or_else(PoisonError::into_inner).clone();
    recording.elapsed = begin.elapsed();
    recording.cpu = nodes.cpu_time()?.saturating_sub(cpu_before);
    recording.generator_cpu = generator.cpu_time()?.saturating_sub(generator_cpu_before);
    Ok(recording)
}

/// What all workers of a run share.
struct Course {
    /// Operations that were due before it don't count.
    begin: Instant,
    /// Nor do those that are due from here on.
    end: Instant,
    recording: Mutex<Recording>,
}

impl Course {
    /// Does one operation. `due`: when it should have begun; `limit`: the worker's timer, set for this operation.
    async fn operation<W: Worker>(&self, worker: &mut W, due: Instant, limit: Pin<&mut Sleep>) {
        let outcome = tokio::select! {
            biased;
            outcome = worker.perform() => outcome,
            () = limit => Err(anyhow!("no answer within {OPERATION_LIMIT:?}")),
        };
        let latency = due.elapsed();
        if due >= self.begin {
            let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
            match &outcome {
                Ok(()) => recording.succeeded(latency),
                Err(error) => recording.failed(error),
            }
        }
        if outcome.is_err() {
            sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

// A timer that is put off costs next to nothing. One for each operation costs as much as a tenth of a quick operation.

async fn closed_loop<W: Worker>(mut worker: W, course: Arc<Course>) {
    let mut limit = pin!(sleep(OPERATION_LIMIT));
    loop {
        let now = Instant::now();
        if now >= course.end {
            return;
        }
        limit.as_mut().reset(now + OPERATION_LIMIT);
        course.operation(&mut worker, now, limit.as_mut()).await;
    }
}

async fn open_loop<W: Worker>(mut worker: W, course: Arc<Course>, schedule: Arc<Schedule>) {
    let mut limit = pin!(sleep(OPERATION_LIMIT));
    while let Some(due) = schedule.next().await {
        limit.as_mut().reset(Instant::now() + OPERATION_LIMIT);
        course.operation(&mut worker, due, limit.as_mut()).await;
    }
}

/// The operations of an open loop, in the order in which they are due.
struct Schedule {
    first: Instant,
    interval: Duration,
    total: u64,
    taken: AtomicU64,
    /// One permit for each operation that is due and not taken, and at the end one for each worker.
    due: Semaphore,
}

impl Schedule {
    /// Starts the clock; none for a closed loop.
    fn new(pace: Pace, first: Instant, course: &Course, workers: usize) -> Result<Option<Arc<Self>>> {
        let Pace::Open { per_second } = pace else { return Ok(None) };
        let interval = Duration::try_from_secs_f64(1.0 / per_second).context("the rate is no rate")?;
        anyhow::ensure!(!interval.is_zero(), "{per_second} operations a second are too many");
        let total = (course.end - first).as_nanos().div_ceil(interval.as_nanos());
        let total = u64::try_from(total).context("too many operations")?;
        let schedule =
            Arc::new(Self { first, interval, total, taken: AtomicU64::new(0), due: Semaphore::new(0) });
        let clock = Arc::clone(&schedule);
        // A thread and not a timer of the runtime, whose steps are of a millisecond.
        thread::Builder::new().name("schedule".to_owned()).spawn(move || clock.release(workers))?;
        Ok(Some(schedule))
    }

    /// The next operation's due time, when it has come; none after the last.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let position = self.taken.fetch_add(1, Ordering::Relaxed);
        (position < self.total).then(|| self.due_at(position))
    }

    fn due_at(&self, position: u64) -> Instant {
        self.first + Duration::from_nanos_u128(self.interval.as_nanos() * u128::from(position))
    }

    fn release(self: Arc<Self>, workers: usize) {
        let mut released = 0;
        while released < self.total {
            // Nobody is left to do them.
            if Arc::strong_count(&self) == 1 {
                return;
            }
            let passed = self.first.elapsed().as_nanos() / self.interval.as_nanos();
            let ready = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1).min(self.total);
            self.due.add_permits(usize::try_from(ready - released).unwrap_or(usize::MAX));
            released = ready;
            let wait = self.due_at(released).saturating_duration_since(Instant::now());
            thread::sleep(wait.max(RELEASE_STEP));
        }
        self.due.add_permits(workers);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Stands still once, for a while, as a server does whose disk stalls.
    struct Stalls {
        turns: Arc<AtomicU64>,
        stalls_at: u64,
        stall: Duration,
    }

    impl Worker for Stalls {
        async fn perform(&mut self) -> Result<()> {
            if self.turns.fetch_add(1, Ordering::Relaxed) == self.stalls_at {
                // Everybody waits: the whole runtime stands still.
                thread::sleep(self.stall);
            }
            sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    }

    fn stalling(workers: usize, stall: Duration) -> Vec<Stalls> {
        let turns = Arc::new(AtomicU64::new(0));
        (0..workers).map(|_| Stalls { turns: Arc::clone(&turns), stalls_at: 100, stall }).collect()
    }

    fn run(pace: Pace, stall: Duration) -> Recording {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let span = Span { warm_up: Duration::ZERO, measured: Duration::from_secs(2) };
        runtime.block_on(drive(stalling(8, stall), pace, span, &ProcessGroup::default())).unwrap()
    }

    #[test]
    fn an_open_loop_shows_a_stall_in_all_that_it_held_up() {
        let stall = Duration::from_secs(1);
        let recording = run(Pace::Open { per_second: 500.0 }, stall);
        assert_eq!(recording.latencies.count(), 1_000);
        // A stall of half the time holds up half of the operations, by half a second in the mean.
        assert!(recording.latencies.quantile_ms(0.9) > 500.0, "{}", recording.latencies.quantile_ms(0.9));
        assert!(recording.latencies.max_ms() >= 990.0, "{}", recording.latencies.max_ms());
    }

    #[test]
    fn a_closed_loop_hides_it_which_is_why_there_is_an_open_one() {
        let recording = run(Pace::Closed, Duration::from_secs(1));
        assert!(recording.latencies.count() > 100);
        assert!(recording.latencies.max_ms() >= 990.0, "{}", recording.latencies.max_ms());
    }

    #[test]
    fn what_is_late_because_all_workers_are_busy_is_late() {
        struct Slow;
        impl Worker for Slow {
            async fn perform(&mut self) -> Result<()> {
                sleep(Duration::from_millis(20)).await;
                Ok(())
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let span = Span { warm_up: Duration::ZERO, measured: Duration::from_millis(500) };
        let pace = Pace::Open { per_second: 100.0 };
        let recording = runtime.block_on(drive(vec![Slow], pace, span, &ProcessGroup::default())).unwrap();
        // Fifty operations of 20 ms each take one worker a second: the last begins half a second late.
        assert_eq!(recording.latencies.count(), 50);
        assert!(recording.latencies.max_ms() >= 480.0, "{}", recording.latencies.max_ms());
        assert!(recording.elapsed >= Duration::from_millis(980), "{:?}", recording.elapsed);
    }

    #[test]
    fn a_warm_up_leaves_no_trace() {
        struct FailsAtFirst(Instant);
        impl Worker for FailsAtFirst {
            async fn perform(&mut self) -> Result<()> {
                sleep(Duration::from_millis(1)).await;
                anyhow::ensure!(self.0.elapsed() > Duration::from_millis(150), "cold");
                Ok(())
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let span = Span { warm_up: Duration::from_millis(300), measured: Duration::from_millis(200) };
        let worker = FailsAtFirst(Instant::now());
        let recording =
            runtime.block_on(drive(vec![worker], Pace::Closed, span, &ProcessGroup::default())).unwrap();
        assert_eq!(recording.errors, 0, "{:?}", recording.first_error);
        assert!(recording.latencies.count() > 0);
        assert!(recording.elapsed >= Duration::from_millis(200));
    }
}
