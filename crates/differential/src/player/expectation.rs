//! What a watch should be told, so that it is known how long to wait for it. Whether it was told the right things is
//! found by comparing the two systems, not here.

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::mvccpb;

/// As a key and as the end of a range: all keys. No key is before it but the empty one.
pub(super) const EVERYTHING: &[u8] = b"\0";

/// A watch that exists.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) stream: u32,
    id: i64,
    /// Where in what was heard of its stream it begins.
    position: usize,
    start_revision: i64,
    /// It begins where history is forgotten, so that it must end.
    doomed: bool,
    key: Bytes,
    range_end: Bytes,
    filters: Vec<i32>,
}

impl Followed {
    /// A watch that was answered with `created`, the response at `position`.
    pub(super) fn new(
        stream: u32,
        position: usize,
        created: &pb::WatchResponse,
        request: pb::WatchCreateRequest,
    ) -> Self {
        let pb::WatchCreateRequest { key, range_end, start_revision, filters, .. } = request;
        // As if it were the smallest key.
        let key = if key.is_empty() { EVERYTHING.into() } else { key };
        Self {
            stream,
            id: created.watch_id,
            position,
            start_revision,
            doomed: false,
            key,
            range_end,
            filters,
        }
    }

    /// With what its start means at a revision, and with history forgotten to another.
    pub(super) fn at(self, now: i64, compacted: i64) -> Self {
        let start_revision = if self.start_revision == 0 { now + 1 } else { self.start_revision };
        Self { start_revision, doomed: start_revision < compacted, ..self }
    }

    /// Whether it has neither been told as many events as it should nor ended.
    pub(super) fn waits(&self, heard: &[pb::WatchResponse], changes: &[mvccpb::Event]) -> bool {
        let own = || heard.iter().skip(self.position).filter(|response| response.watch_id == self.id);
        let told: usize = own().map(|response| response.events.len()).sum();
        let expected = changes.iter().filter(|change| self.wants(change)).count();
        (self.doomed || told < expected) && !own().any(|response| response.canceled)
    }

    fn wants(&self, change: &mvccpb::Event) -> bool {
        let Some(kv) = &change.kv else { return false };
        let in_range = match self.range_end.as_ref() {
            [] => kv.key == self.key,
            [0] => kv.key >= self.key,
            end => kv.key >= self.key && kv.key.as_ref() < end,
        };
        // The filters' numbers are those of the kinds of events that they keep out.
        in_range && kv.mod_revision >= self.start_revision && !self.filters.contains(&change.r#type)
    }
}
