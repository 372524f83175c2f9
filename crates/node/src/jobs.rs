//! Jobs of a replica that run beside it, each on a thread of its own. However a job ends, the replica is told.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruvector_state_machine::StateMachine;

use crate::replica::{Event, SnapshotJob};

/// The niceness of threads that write snapshots: they take long, and nobody waits for them. A tenth of a processor's time
/// is left to them when all is busy.
const SNAPSHOT_NICENESS: i32 = 10;

/// What a thread is to do.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Runs a job on a thread, which calls `tell` at its end. Returns what is to be told at once if there is no thread.
pub(crate) fn begin<M: StateMachine>(
    job: SnapshotJob<M>,
    tell: impl FnOnce(Event) + Send + 'static,
    spawn: impl FnOnce(Work) -> io::Result<()>,
) -> Option<Event> {
    let abandoned = job.abandoned();
    let otherwise = job.abandoned();
    let work = move || {
        let done = catch_unwind(AssertUnwindSafe(|| job.run()));
        tell(done.unwrap_or_else(|_| {
            tracing::error!(
                "work on a snapshot broke off by a bug, which is told above; it is tried again later"
            );
            abandoned
        }));
    };
    let error = spawn(Box::new(work)).err()?;
    tracing::error!("no thread for work on a snapshot, which is tried again later: {error}");
    Some(otherwise)
}

/// Starts a thread that leaves others the processor.
pub(crate) fn spawn(work: Work) -> io::Result<()> {
    let run = move || {
        if let Err(error) = rustix::process::setpriority_process(None, SNAPSHOT_NICENESS) {
            tracing::debug!("a snapshot runs at the usual priority: {error}");
        }
        work();
    };
    std::thread::Builder::new().name("snapshot".to_owned()).spawn(run).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, mpsc};

    use ruvector_protocol::{NodeId, SnapshotMeta, Term};
    use ruvector_state_machine::kv::KvMachine;
    use ruvector_storage::{Owner, SimulatedDisk, SnapshotStore};

    use super::*;
    use crate::replica::{JobDone, Verdict};

    const OWNER: Owner = Owner { cluster_id: 1, node: NodeId(1) };

    fn store() -> SnapshotStore {
        SnapshotStore::open(Arc::new(SimulatedDisk::new()), OWNER).unwrap()
    }

    fn receipt() -> SnapshotJob<KvMachine> {
        let meta = SnapshotMeta::default();
        let receiver = store().receive(crate::GroupId::METADATA, &meta, 10).unwrap();
        SnapshotJob::Complete {
            group: crate::GroupId::METADATA,
            from: NodeId(2),
            term: Term(3),
            meta,
            transfer: 4,
            receiver,
        }
    }

    fn no_thread(_: Work) -> io::Result<()> {
        Err(io::Error::other("none is left"))
    }

    #[test]
    fn a_job_for_which_there_is_no_thread_is_told_to_have_failed() {
        let never = |_| panic!("the caller tells it");
        let told = begin(receipt(), never, no_thread).unwrap();
        let Event::JobDone(JobDone::Completed { from, term, transfer, result, .. }) = told else {
            panic!("{told:?}")
        };
        assert_eq!((from, term, transfer), (NodeId(2), Term(3), 4));
        assert!(result.unwrap_err().to_string().contains("thread"));
        let doubted = SnapshotJob::<KvMachine>::Verify { name: "a".to_owned(), store: store() };
        let told = begin(doubted, never, no_thread).unwrap();
        assert!(
            matches!(told, Event::JobDone(JobDone::Verified { verdict: Verdict::Unknown, .. })),
            "{told:?}"
        );
    }

    #[test]
    fn the_end_of_a_job_is_told_by_its_thread() {
        let (sender, told) = mpsc::channel();
        assert!(begin(receipt(), move |event| sender.send(event).unwrap(), spawn).is_none());
        let told = told.recv().unwrap();
        let Event::JobDone(JobDone::Completed { result, .. }) = told else { panic!("{told:?}") };
        assert!(result.is_err(), "nothing was received");
    }
}
