//! The stream below a watch, in etcd's own messages: the Rust client would not show notices of progress.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_api::mvccpb;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use super::observer::{Change, Observer, lock};
use crate::cluster::endpoint;
use crate::group::Group;
use crate::key::PREFIX;
use crate::network::Place;

/// Names the group that a request is about.
const GROUP: &str = "ruvector-group";
/// How often the node is asked how far the watch is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Before another attempt after a stream broke or could not be opened.
const RESUME_DELAY: Duration = Duration::from_millis(100);
/// A node that is gone without a word is noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Watches at a node for ever, through one stream after the other.
pub(super) async fn follow(group: Group, place: Place, observer: Arc<Mutex<Observer>>) {
    loop {
        let broken = follow_one(group, place, &observer).await;
        if let Err(Broken::Cancelled(reason)) = broken {
            lock(&observer).violate(format!("the watch was cancelled: {reason}"));
        }
        sleep(RESUME_DELAY).await;
        lock(&observer).resumptions += 1;
    }
}

/// Why a stream ended.
enum Broken {
    /// The connection or the node was lost.
    Lost,
    /// The node ended the watch. Nothing in a run gives it a reason to.
    Cancelled(String),
}

impl<E: std::error::Error> From<E> for Broken {
    fn from(_: E) -> Self {
        Self::Lost
    }
}

async fn follow_one(group: Group, place: Place, observer: &Mutex<Observer>) -> Result<(), Broken> {
    let channel = Endpoint::from_shared(format!("http://{}", endpoint(place)))?
        .connect_timeout(KEEP_ALIVE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let start = lock(observer).next_revision();
    let (requests, responses) = open(channel, group, start).await?;
    let mut responses = responses;
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            response = responses.message() => match response? {
                Some(response) => take(response, observer)?,
                None => return Err(Broken::Lost),
            },
            _ = ticks.tick() => {
                let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                // If the last request still waits, the node is busy enough.
                let _ = requests.try_send(pb::WatchRequest { request_union: Some(progress) });
            }
        }
    }
}

type Requests = mpsc::Sender<pb::WatchRequest>;

async fn open(
    channel: Channel,
    group: Group,
    start_revision: i64,
) -> Result<(Requests, tonic::Streaming<pb::WatchResponse>), Broken> {
    let create = RequestUnion::CreateRequest(pb::WatchCreateRequest {
        key: PREFIX.into(),
        range_end: end_of_prefix().into(),
        start_revision,
        progress_notify: true,
        ..pb::WatchCreateRequest::default()
    });
    let (requests, receiver) = mpsc::channel(1);
    requests.send(pb::WatchRequest { request_union: Some(create) }).await?;
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert(GROUP, MetadataValue::from_static(group.name()));
    let responses = WatchClient::new(channel).watch(request).await?.into_inner();
    Ok((requests, responses))
}

/// The prefix ends with `/`; the next character is `0`.
fn end_of_prefix() -> String {
    format!("{}0", PREFIX.trim_end_matches('/'))
}

fn take(response: pb::WatchResponse, observer: &Mutex<Observer>) -> Result<(), Broken> {
    let mut observer = lock(observer);
    if response.canceled {
        return Err(Broken::Cancelled(response.cancel_reason));
    }
    let revision = response.header.map_or(0, |header| header.revision);
    if !response.events.is_empty() {
        observer.observe(response.events.into_iter().filter_map(change).collect());
    } else if !response.created {
        observer.observe_progress(revision);
    }
    Ok(())
}

fn change(event: mvccpb::Event) -> Option<Change> {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    let kv = event.kv?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = (!deleted).then(|| text(&kv.value));
    Some(Change { revision: kv.mod_revision, key: text(&kv.key), value })
}
