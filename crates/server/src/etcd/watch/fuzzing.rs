//! A watch without its stream: for the fuzz targets.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{KvError, KvView, Revision};

use super::event;
use super::session::asked;
use crate::service::watch::watcher::Watcher;

/// What a watch is told of the changes so far; `None` if no key can be in its range.
pub(crate) fn told(
    view: &KvView,
    request: pb::WatchCreateRequest,
) -> Result<Option<Vec<mvccpb::Event>>, KvError> {
    let current = view.revision();
    let Some(watcher) = Watcher::new(asked(request), current) else { return Ok(None) };
    let from = watcher.next.max(Revision(1));
    if from > current {
        return Ok(Some(Vec::new()));
    }
    let events = view.events(from, current)?;
    let wanted = events.filter(|event| watcher.range.contains(&event.kv.key) && watcher.wants(event));
    Ok(Some(wanted.map(|event| event::wire(&event, watcher.form.with_previous)).collect()))
}
