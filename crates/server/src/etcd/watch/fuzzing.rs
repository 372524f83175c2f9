//! A watch without its stream: for the fuzz targets.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{KvError, KvView, Revision};

use super::change;
use super::range::WatchRange;
use super::watcher::Watcher;

/// What a watch is told of the changes so far; `None` if no key can be in its range.
pub(crate) fn told(
    view: &KvView,
    mut request: pb::WatchCreateRequest,
) -> Result<Option<Vec<mvccpb::Event>>, KvError> {
    let (key, range_end) = (std::mem::take(&mut request.key), std::mem::take(&mut request.range_end));
    let Some(range) = WatchRange::new(key, range_end) else { return Ok(None) };
    let current = view.revision();
    let next = if request.start_revision == 0 { current.0 + 1 } else { request.start_revision };
    let watcher = Watcher::new(&request, range, Revision(next));
    let from = watcher.next.max(Revision(1));
    if from > current {
        return Ok(Some(Vec::new()));
    }
    let events = view.events(from, current)?;
    let wanted = events.filter(|event| watcher.range.contains(&event.kv.key) && watcher.wants(event));
    Ok(Some(wanted.map(|event| change::wire(&event, watcher.prev_kv)).collect()))
}
