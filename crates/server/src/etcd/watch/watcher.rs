//! One watch of a stream.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_create_request::FilterType;
use ruvector_node::state_machine::kv::{Event, EventKind, Revision};

use super::answer::Answer;
use super::change::Change;
use super::range::WatchRange;

/// One watch of a stream.
pub(super) struct Watcher {
    pub(super) range: WatchRange,
    /// Changes before this revision are not for it, or were told already.
    pub(super) next: Revision,
    /// Whether the hub marks the stream for it; otherwise it catches up.
    pub(super) joined: bool,
    /// Told now and then how far it is when nothing happens.
    pub(super) progress_notify: bool,
    /// Told something since the last time that idle watches were looked for.
    pub(super) told: bool,
    no_put: bool,
    no_delete: bool,
    pub(super) prev_kv: bool,
    fragment: bool,
}

impl Watcher {
    pub(super) fn new(request: &pb::WatchCreateRequest, range: WatchRange, next: Revision) -> Self {
        let filtered = |kind: FilterType| request.filters.contains(&(kind as i32));
        Self {
            range,
            next,
            joined: false,
            progress_notify: request.progress_notify,
            told: true,
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        }
    }

    /// Whether an event in its range is for it.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.no_put,
            EventKind::Delete => self.no_delete,
        };
        event.kv.mod_revision >= self.next && !filtered
    }

    /// The changes as this watch asked for them, in one answer, or in several if they are too large for one and
    /// the client can put them together again.
    pub(super) fn answers(
        &self,
        response: pb::WatchResponse,
        changes: Vec<Arc<Change>>,
        bytes_max: usize,
    ) -> Vec<Answer> {
        match self.fragment {
            true => Answer::fragments(&response, changes, self.prev_kv, bytes_max),
            false => vec![Answer::whole(response, changes, self.prev_kv)],
        }
    }
}
