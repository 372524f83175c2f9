//! Work on snapshot files that runs beside the replica, and how its end is told.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotInfo, SnapshotStore, SnapshotWriter, StorageError};

use super::contents::write_origins;
use super::unhurried::Unhurried;
use crate::replica::origins::OriginWindow;
use crate::replica::{Event, JobDone, SnapshotJob, Verdict};

impl<M: StateMachine> SnapshotJob<M> {
    /// Does the work; it may take long.
    #[must_use]
    pub fn run(self) -> Event {
        Event::JobDone(match self {
            Self::Write { group, name, ticket, meta, view, origins, applied, store } => {
                let writer = store.create(&name, group, &meta);
                let result =
                    writer.and_then(|writer| write_contents::<M>(writer, &name, &view, &origins, &applied));
                JobDone::Written { ticket, result }
            }
            Self::Complete { group: _, from, term, meta, transfer, receiver } => {
                JobDone::Completed { from, term, meta, transfer, result: receiver.finish() }
            }
            Self::Verify { name, store } => {
                let verdict = match read_through(&store, &name) {
                    Ok(_) => Verdict::Sound,
                    Err(error) => Verdict::Damaged(error.to_string()),
                };
                JobDone::Verified { name, verdict }
            }
        })
    }

    /// What to hand in if the work can't be begun, or does not come to its end.
    #[must_use]
    pub fn abandoned(&self) -> Event {
        let error = |name: &str| StorageError::Io {
            action: "working on",
            file: format!("snapshot {name}"),
            source: io::Error::other(
                "the thread for it did not start, or broke off; the node's log says why",
            ),
        };
        Event::JobDone(match self {
            Self::Write { name, ticket, .. } => {
                JobDone::Written { ticket: *ticket, result: Err(error(name)) }
            }
            Self::Complete { group, from, term, meta, transfer, receiver: _ } => JobDone::Completed {
                from: *from,
                term: *term,
                meta: meta.clone(),
                transfer: *transfer,
                result: Err(error(&SnapshotStore::automatic_name(*group, meta))),
            },
            Self::Verify { name, store: _ } => {
                JobDone::Verified { name: name.clone(), verdict: Verdict::Unknown }
            }
        })
    }
}

/// Reads a snapshot from its beginning to its end, as a receiver does.
fn read_through(store: &SnapshotStore, name: &str) -> io::Result<u64> {
    let mut reader = store.open_contents(name).map_err(io::Error::other)?;
    io::copy(&mut reader, &mut io::sink())
}

/// A snapshot's contents are what is remembered of origins, with its length before it, and the machine's.
fn write_contents<M: StateMachine>(
    mut writer: SnapshotWriter,
    name: &str,
    view: &M::View,
    origins: &OriginWindow,
    applied: &AtomicU64,
) -> Result<SnapshotInfo, StorageError> {
    // Hardly anybody waits for it: a follower that is far behind gets a snapshot that is there.
    let mut seen = applied.load(Ordering::Relaxed);
    let is_busy = || {
        let before = seen;
        seen = applied.load(Ordering::Relaxed);
        seen != before
    };
    let mut unhurried = Unhurried::new(&mut writer, is_busy, std::thread::sleep);
    write_origins(&mut unhurried, origins)
        .and_then(|()| M::write_snapshot(view, &mut unhurried))
        .map_err(|source| StorageError::Io { action: "writing", file: format!("snapshot {name}"), source })?;
    writer.finish()
}
