//! A change as an event of etcd.

use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{Event, EventKind};

use crate::service::watch::change::Change;
use crate::wire::convert;

/// The event as the last field of a `WatchResponse`: appended to the bytes of a response, it is one event
/// more of it. (Protobuf: the elements of a repeated message field are records of their own, in their order.)
pub(super) fn encoded(change: &Change, with_previous: bool) -> &[u8] {
    change.encoded(with_previous, |event, with_previous| {
        let events = vec![wire(event, with_previous)];
        pb::WatchResponse { events, ..Default::default() }.encode_to_vec().into_boxed_slice()
    })
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
