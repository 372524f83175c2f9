//! A change on its way to everybody who watches its key.

use std::sync::OnceLock;

use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{Event, EventKind, Revision};

use crate::etcd::convert;

/// What one change takes beyond keys and values, in bytes: an upper estimate of the numbers and lengths of two
/// key-values on the wire.
const OVERHEAD_BYTES: usize = 128;

/// A change on its way to everybody who watches its key: encoded once, by the first that is told of it, and
/// shared by the others. There are two forms, since only some want to know what was before.
#[derive(Debug)]
pub(super) struct Change {
    event: Event,
    without_previous: OnceLock<Box<[u8]>>,
    with_previous: OnceLock<Box<[u8]>>,
}

impl Change {
    pub(super) fn new(event: Event) -> Self {
        Self { event, without_previous: OnceLock::new(), with_previous: OnceLock::new() }
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    pub(super) fn revision(&self) -> Revision {
        self.event.kv.mod_revision
    }

    /// About what it takes on the wire or in memory, in bytes, without encoding it.
    pub(super) fn bytes(&self) -> usize {
        let previous = self.event.prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        OVERHEAD_BYTES + self.event.kv.key.len() + self.event.kv.value.len() + previous
    }

    /// The event as the last field of a `WatchResponse`: appended to the bytes of a response, it is one event
    /// more of it. (Protobuf: the elements of a repeated message field are records of their own, in their order.)
    pub(super) fn encoded(&self, with_previous: bool) -> &[u8] {
        let with_previous = with_previous && self.event.prev_kv.is_some();
        let form = if with_previous { &self.with_previous } else { &self.without_previous };
        form.get_or_init(|| {
            let events = vec![wire(&self.event, with_previous)];
            pb::WatchResponse { events, ..Default::default() }.encode_to_vec().into_boxed_slice()
        })
    }
}

/// The event in etcd's form.
pub(super) fn wire(event: &Event, with_previous: bool) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let prev_kv = event.prev_kv.as_deref().filter(|_| with_previous);
    mvccpb::Event {
        r#type: kind as i32,
        kv: Some(convert::key_value(&event.kv)),
        prev_kv: prev_kv.map(convert::key_value),
    }
}
