//! One watch of a stream.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_create_request::FilterType;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{Event, EventKind, Revision};

use super::range::WatchRange;
use crate::etcd::convert;

/// What one event takes beyond keys and values, in bytes: an upper estimate of the numbers and lengths of two
/// key-values on the wire.
const EVENT_OVERHEAD_BYTES: usize = 128;

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
    prev_kv: bool,
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

    /// The event as this watch asked for it.
    pub(super) fn wire(&self, event: &Event) -> mvccpb::Event {
        let kind = match event.kind {
            EventKind::Put => mvccpb::event::EventType::Put,
            EventKind::Delete => mvccpb::event::EventType::Delete,
        };
        let prev_kv = event.prev_kv.as_deref().filter(|_| self.prev_kv);
        mvccpb::Event {
            r#type: kind as i32,
            kv: Some(convert::key_value(&event.kv)),
            prev_kv: prev_kv.map(convert::key_value),
        }
    }

    /// The events in one response, or in several if they are too large for one and the client can put them
    /// together again.
    pub(super) fn responses(
        &self,
        response: pb::WatchResponse,
        events: Vec<mvccpb::Event>,
        bytes_max: usize,
    ) -> Vec<pb::WatchResponse> {
        if !self.fragment {
            return vec![pb::WatchResponse { events, ..response }];
        }
        let mut responses = vec![response.clone()];
        let mut bytes = 0;
        for event in events {
            let event_bytes = wire_bytes(&event);
            if bytes > 0 && bytes + event_bytes > bytes_max {
                responses.push(response.clone());
                bytes = 0;
            }
            bytes += event_bytes;
            responses.last_mut().expect("there is one from the start").events.push(event);
        }
        let last = responses.len() - 1;
        responses[..last].iter_mut().for_each(|response| response.fragment = true);
        responses
    }
}

/// About what an event takes on the wire, in bytes.
pub(super) fn wire_bytes(event: &mvccpb::Event) -> usize {
    let bytes = |kv: &Option<mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    EVENT_OVERHEAD_BYTES + bytes(&event.kv) + bytes(&event.prev_kv)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn watcher(fragment: bool) -> Watcher {
        let request = pb::WatchCreateRequest { fragment, ..Default::default() };
        Watcher::new(&request, WatchRange::new("a".into(), "b".into()).unwrap(), Revision(1))
    }

    fn events(sizes: &[usize]) -> Vec<mvccpb::Event> {
        let event = |size: &usize| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: "a".into(),
                value: vec![0; *size].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        sizes.iter().map(event).collect()
    }

    #[test]
    fn fragments_keep_every_event_in_order_and_all_but_the_last_are_marked() {
        let sent = events(&[400, 400, 400, 3_000, 10]);
        let responses = watcher(true).responses(pb::WatchResponse::default(), sent.clone(), 1_200);
        let sizes: Vec<_> = responses.iter().map(|response| response.events.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        let marks: Vec<_> = responses.iter().map(|response| response.fragment).collect();
        assert_eq!(marks, [true, true, true, false]);
        let received: Vec<_> = responses.into_iter().flat_map(|response| response.events).collect();
        assert_eq!(received, sent);
    }

    #[test]
    fn nothing_is_fragmented_unless_asked_for() {
        let responses = watcher(false).responses(pb::WatchResponse::default(), events(&[5_000, 5_000]), 100);
        assert_eq!(responses.len(), 1);
        assert!(!responses[0].fragment);
    }
}
