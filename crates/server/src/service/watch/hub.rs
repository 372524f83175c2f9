//! Reads every change once and marks the streams that it concerns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruvector_node::state_machine::kv::{Event, KvMachine, KvView, Revision};
use ruvector_node::{Handle, NodeError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::change::Change;
use super::index::WatchIndex;
use super::range::WatchRange;
use super::window::Window;

/// How many revisions are read before other work of the thread gets its turn.
const REVISIONS_PER_TURN: i64 = 1_000;
/// When so many streams were told something, the next changes are gathered for a moment first.
const MANY_STREAMS: usize = 16;
/// How long. What a stream is told costs about the same whether it is one change or ten. The first change after a while is
/// told at once.
const GATHERING: Duration = Duration::from_millis(1);
/// How soon to ask a node again that had too much to do.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// Reads every change once and marks the streams that it concerns.
///
/// Invariants: a stream that is not marked has no watch here on a key that changed at or below
/// [`revision`](State::revision) and that it was not told of; a mark is never above that revision; the window
/// ends with that revision, and has every change in it that concerned a watch in the index.
pub(crate) struct WatchHub {
    state: Mutex<State>,
    /// A stream was opened.
    opened: Notify,
    watches_max: usize,
}

struct State {
    /// Every change at or below this was read.
    revision: Revision,
    /// The latest of them.
    window: Window,
    /// The watches that are up to date, or wait for a revision yet to come.
    index: WatchIndex<(StreamId, i64)>,
    streams: HashMap<StreamId, Mark>,
    next_stream: StreamId,
    /// Of all streams, those that still catch up too.
    watch_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct StreamId(u64);

/// What the hub has for a stream.
struct Mark {
    /// The first revision with a change that concerns it, since it last looked.
    from: Option<Revision>,
    wake: Arc<Notify>,
}

/// A stream's place at the hub. Its owner takes its watches out before dropping it.
pub(super) struct HubStream {
    hub: Arc<WatchHub>,
    id: StreamId,
    wake: Arc<Notify>,
}

/// What a stream learns when it looks.
pub(super) struct Look {
    /// Changes that concern the stream begin at this revision.
    pub(super) from: Option<Revision>,
    /// All changes through this one were looked at.
    pub(super) through: Revision,
}

impl WatchHub {
    /// A hub without streams.
    pub(crate) fn new(watches_max: usize) -> Self {
        let state = State {
            revision: Revision(0),
            window: Window::starting_at(Revision(1)),
            index: WatchIndex::new(),
            streams: HashMap::new(),
            next_stream: StreamId(0),
            watch_count: 0,
        };
        Self { state: Mutex::new(state), opened: Notify::new(), watches_max }
    }

    /// Follows the versions of the state while there are streams, until the node is gone.
    pub(crate) async fn run(self: Arc<Self>, handle: Handle<KvMachine>) {
        loop {
            self.opened.notified().await;
            let mut newer = handle.server_side().subscribe();
            while !self.lock().streams.is_empty() {
                match handle.published().await {
                    Ok(version) => {
                        while self.advance(&version.view) {
                            tokio::task::yield_now().await;
                        }
                        if self.gathers() {
                            tokio::time::sleep(GATHERING).await;
                        }
                        if newer.changed().await.is_err() {
                            return;
                        }
                    }
                    Err(NodeError::Stopped(_)) => return,
                    Err(_) => tokio::time::sleep(BUSY_RETRY).await,
                }
            }
        }
    }

    /// Whether so many streams are about to tell something that the next changes are to be gathered.
    fn gathers(&self) -> bool {
        self.lock().marked() >= MANY_STREAMS
    }

    /// How many watches there are, and how many streams.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.watch_count, state.streams.len())
    }

    /// Whether a watch that joined is in the index, and how many streams have a place.
    #[cfg(test)]
    pub(super) fn holds(&self) -> (bool, usize) {
        let state = self.lock();
        (!state.index.is_empty(), state.streams.len())
    }

    /// A place for a new stream.
    pub(super) fn open(self: &Arc<Self>) -> HubStream {
        let wake = Arc::new(Notify::new());
        let mut state = self.lock();
        let id = state.next_stream;
        state.next_stream = StreamId(id.0 + 1);
        state.streams.insert(id, Mark { from: None, wake: Arc::clone(&wake) });
        self.opened.notify_one();
        HubStream { hub: Arc::clone(self), id, wake }
    }

    /// Reads some changes; true if there are more.
    fn advance(&self, view: &KvView) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        if view.revision() <= state.revision {
            return false;
        }
        let from = Revision(state.revision.0 + 1);
        if state.index.is_empty() {
            state.skip_to(view.revision());
            return false;
        }
        let through = view.revision().min(Revision(state.revision.0 + REVISIONS_PER_TURN));
        match view.recent_events(from, through) {
            Ok(events) => {
                events.for_each(|event| state.read(event));
                state.revision = through;
            }
            // History was compacted and gone before it was read, as after a snapshot from the leader: every
            // stream finds that out for itself.
            Err(_) => {
                state.streams.values_mut().for_each(|mark| mark.set(from));
                state.skip_to(through);
            }
        }
        through < view.revision()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and if it did the marks would still be true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many streams have something that they were not told yet.
    fn marked(&self) -> usize {
        self.streams.values().filter(|mark| mark.from.is_some()).count()
    }

    /// Marks the streams that a change concerns, and keeps it for them.
    fn read(&mut self, event: Event) {
        let streams = &mut self.streams;
        let mut concerns_any = false;
        self.index.find(&event.kv.key, |(stream, _)| {
            concerns_any = true;
            if let Some(mark) = streams.get_mut(&stream) {
                mark.set(event.kv.mod_revision);
            }
        });
        if concerns_any {
            self.window.push(event);
        }
    }

    /// Goes on behind a revision without having read what was before.
    fn skip_to(&mut self, revision: Revision) {
        self.revision = revision;
        self.window = Window::starting_at(Revision(revision.0 + 1));
    }
}

impl Mark {
    fn set(&mut self, revision: Revision) {
        if self.from.is_none() {
            self.from = Some(revision);
            self.wake.notify_one();
        }
    }
}

impl HubStream {
    /// Waits for a mark.
    pub(super) fn marked(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Takes the mark.
    pub(super) fn look(&self) -> Look {
        let mut state = self.hub.lock();
        let through = state.revision;
        let from = state.streams.get_mut(&self.id).and_then(|mark| mark.from.take());
        Look { from, through }
    }

    /// Has `read` go through those of the changes in `from..=through` that concern a watch that joined. `None` if some
    /// may be forgotten here.
    pub(super) fn recent<R>(
        &self,
        from: Revision,
        through: Revision,
        read: impl FnOnce(&mut dyn Iterator<Item = &Arc<Change>>) -> R,
    ) -> Option<R> {
        let state = self.hub.lock();
        let mut changes = state.window.between(from, through)?;
        Some(read(&mut changes))
    }

    /// Counts a new watch; false if there are too many.
    pub(super) fn count_watch(&self) -> bool {
        let mut state = self.hub.lock();
        let allowed = state.watch_count < self.hub.watches_max;
        state.watch_count += usize::from(allowed);
        allowed
    }

    /// Forgets a watch that was counted.
    pub(super) fn uncount_watch(&self) {
        self.hub.lock().watch_count -= 1;
    }

    /// Lets a watch that has been told everything before `next` wait for marks. False if the hub has read
    /// changes from `next` on already, which the watch must catch up with first. `present` is a revision of the
    /// store that was reached.
    pub(super) fn join(&self, range: &WatchRange, watch: i64, next: Revision, present: Revision) -> bool {
        let mut state = self.hub.lock();
        if state.index.is_empty() && present > state.revision {
            // What changed while there was no watch concerns nobody.
            state.skip_to(present);
        }
        let joined = next > state.revision;
        if joined {
            state.index.insert(range, (self.id, watch));
        }
        joined
    }

    /// Takes a watch that joined out again.
    pub(super) fn leave(&self, range: &WatchRange, watch: i64) {
        self.hub.lock().index.remove(range, (self.id, watch));
    }
}

impl Drop for HubStream {
    fn drop(&mut self) {
        self.hub.lock().streams.remove(&self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_node::state_machine::kv::{Command, PutRequest};
    use ruvector_node::state_machine::{Committed, StateMachine};

    use super::*;

    fn put(key: &'static str) -> Command {
        Command::Put(PutRequest {
            key: key.into(),
            value: "".into(),
            lease: None,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        })
    }

    fn apply(machine: &mut KvMachine, index: u64, command: Command) {
        machine.apply(&Committed { index, time_ms: index, command: command.encode() });
    }

    #[test]
    fn all_streams_are_to_look_when_changes_are_gone_before_they_were_read() {
        let hub = Arc::new(WatchHub::new(1_000));
        let streams = [hub.open(), hub.open()];
        let range = WatchRange::new("a".into(), "".into()).unwrap();
        for stream in &streams {
            assert!(stream.join(&range, 1, Revision(2), Revision(1)));
        }
        let mut machine = KvMachine::default();
        apply(&mut machine, 1, put("a"));
        assert!(!hub.advance(&machine.view()));
        for stream in &streams {
            assert_eq!(stream.look().from, Some(Revision(2)));
            assert_eq!(stream.look().from, None);
        }
        for index in 2..20 {
            apply(&mut machine, index, put("b"));
        }
        let last = machine.view().revision();
        apply(&mut machine, 20, Command::Compact { revision: last });
        for index in 21..50 {
            apply(&mut machine, index, Command::LeaseRenew { ids: Vec::new() });
        }
        assert!(machine.view().recent_events(Revision(3), last).is_err(), "they are gone");
        assert!(!hub.advance(&machine.view()));
        for stream in &streams {
            let look = stream.look();
            assert_eq!((look.from, look.through), (Some(Revision(3)), last));
        }
    }

    #[test]
    fn changes_are_gathered_only_while_many_streams_have_something_to_tell() {
        let hub = Arc::new(WatchHub::new(1_000));
        let streams: Vec<HubStream> = (0..MANY_STREAMS).map(|_| hub.open()).collect();
        for (number, stream) in streams.iter().enumerate() {
            let key = if number == 0 { "b" } else { "a" };
            let range = WatchRange::new(key.into(), "".into()).unwrap();
            assert!(stream.join(&range, 1, Revision(2), Revision(1)));
        }
        let mut machine = KvMachine::default();
        for (index, key, gathers) in [(1, "a", false), (2, "b", true)] {
            apply(&mut machine, index, put(key));
            assert!(!hub.advance(&machine.view()));
            assert_eq!(hub.gathers(), gathers, "after a change of {key}");
        }
        assert!(streams[0].look().from.is_some());
        assert!(!hub.gathers(), "one of them has looked");
    }
}
