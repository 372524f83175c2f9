//! Owns the stream: connects, sends, takes answers, and moves on when a node fails or another leads.

use std::future::pending as never;
use std::time::Duration;

use crate::group::Channel;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_client::NativeClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::pending::{Job, Pending};
use crate::connection::{Connection, addresses, service};
use crate::error::ClientError;
use crate::options::ClientOptions;
use crate::verdict::{Effect, judge, timeout_status};

/// How many frames may wait for the connection.
const FRAMES_MAX: usize = 4;
/// How many requests are taken from callers at a time.
const JOBS_AT_ONCE: usize = 512;
/// How many requests are under way until the server has said how many it takes.
const REQUESTS_MAX: usize = 256;
/// How long a stream is left alone that was just moved to another node.
const REDIRECT_PAUSE: Duration = Duration::from_millis(200);
/// A request that is not answered within this part of the whole time makes the stream move on.
const SILENCE_DIVISOR: u32 = 3;

/// An open stream.
struct Stream {
    frames: mpsc::Sender<pb::ClientFrame>,
    responses: Streaming<pb::ServerFrame>,
}

/// Why an open stream is left.
enum Left {
    /// All callers are gone and everything is answered.
    Finished,
    /// The node failed or is silent.
    Failed(Status),
    /// The leader is at another of the client's endpoints.
    LeaderAt(usize),
}

/// The client's side of the protocol, until the last clone of the client is dropped.
pub(super) async fn run(connections: Vec<Connection>, options: ClientOptions, jobs: mpsc::Receiver<Job>) {
    let pending = Pending::new(options.retry_delay);
    Task { connections, options, jobs, pending, position: 0, moved_at: None, failures: 0 }.run().await;
}

struct Task {
    connections: Vec<Connection>,
    options: ClientOptions,
    jobs: mpsc::Receiver<Job>,
    pending: Pending,
    /// The connection in use.
    position: usize,
    /// When the stream was last moved to a leader.
    moved_at: Option<Instant>,
    /// Failures since a request was last answered. That a stream can be opened is no success yet.
    failures: u32,
}

impl Task {
    async fn run(mut self) {
        let mut unreachable_since = None;
        loop {
            if self.pending.is_empty() {
                match self.jobs.recv().await {
                    Some(job) => self.pending.add(job),
                    None => return,
                }
            }
            let status = match self.connect().await {
                Ok(stream) => {
                    unreachable_since = None;
                    match self.exchange(stream).await {
                        Left::Finished => return,
                        Left::LeaderAt(position) => {
                            self.pending.disconnected("the leader changed");
                            self.position = position;
                            self.moved_at = Some(Instant::now());
                            continue;
                        }
                        Left::Failed(status) => status,
                    }
                }
                Err(status) => status,
            };
            let since = *unreachable_since.get_or_insert_with(Instant::now);
            let error = judge(&status, &self.connections[self.position].endpoint, Effect::Read).error;
            // No other node would do it: none offers the protocol, or none has the group.
            if matches!(status.code(), Code::Unimplemented | Code::NotFound) {
                self.pending.fail_all(&error);
                continue;
            }
            if matches!(error, ClientError::TooLarge { .. }) {
                self.pending.too_large(&status, &self.connections[self.position].endpoint);
            }
            self.failed(&status, error, since);
            self.failures += 1;
            self.pause().await;
        }
    }

    /// A node failed: the next is asked.
    fn failed(&mut self, status: &Status, error: ClientError, since: Instant) {
        self.pending.disconnected(status.message());
        if let ClientError::Unreachable { reason, .. } = error {
            let error = ClientError::Unreachable { endpoints: addresses(&self.connections), reason };
            self.pending.not_connected(&error);
            if since.elapsed() >= self.options.unreachable_timeout {
                self.pending.fail_unsent(&error);
            }
        }
        self.position = (self.position + 1) % self.connections.len();
    }

    /// Waits before the next attempt, if all nodes have failed since one answered; callers' requests are taken on.
    async fn pause(&mut self) {
        let failures = self.failures;
        let nodes = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        let rounds = failures / nodes;
        let delay = if failures.is_multiple_of(nodes) {
            self.options.retry_delay * 2_u32.saturating_pow(rounds.saturating_sub(1)).min(20)
        } else {
            Duration::ZERO
        };
        let until = Instant::now() + delay;
        loop {
            self.pending.wake(Instant::now());
            let wake_at = self.pending.next_wake().map_or(until, |wake_at| wake_at.min(until));
            tokio::select! {
                job = self.jobs.recv(), if self.pending.len() < REQUESTS_MAX => match job {
                    Some(job) => self.pending.add(job),
                    None => return sleep_until(wake_at).await,
                },
                () = sleep_until(wake_at) => {}
            }
            if Instant::now() >= until || self.pending.is_empty() {
                return;
            }
        }
    }

    async fn connect(&mut self) -> Result<Stream, Status> {
        let connection = &self.connections[self.position];
        let (frames, to_send) = mpsc::channel(FRAMES_MAX);
        let mut client = service!(NativeClient<Channel>, connection.channel.clone());
        let opening = client.exchange(ReceiverStream::new(to_send));
        match timeout(self.options.connect_timeout, opening).await {
            Ok(opened) => Ok(Stream { frames, responses: opened?.into_inner() }),
            Err(_) => Err(timeout_status(&connection.endpoint)),
        }
    }

    /// Uses a stream for as long as it is good.
    async fn exchange(&mut self, stream: Stream) -> Left {
        let Stream { frames, mut responses } = stream;
        let mut requests_max = REQUESTS_MAX;
        let mut jobs = Vec::with_capacity(JOBS_AT_ONCE);
        let mut is_closed = false;
        // What the node takes, and whether it leads, is known before anything is sent.
        let mut is_placed = false;
        loop {
            if is_closed && self.pending.is_empty() {
                return Left::Finished;
            }
            let silent_at =
                self.pending.oldest_sent_at().map(|at| at + self.options.request_timeout / SILENCE_DIVISOR);
            let wake_at = self.pending.next_wake().into_iter().chain(silent_at).min();
            let woken = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => never().await,
                }
            };
            let may_take = !is_closed && self.pending.len() < requests_max;
            tokio::select! {
                biased;
                response = responses.message() => match response {
                    Ok(Some(frame)) => {
                        is_placed |= frame.place.is_some();
                        if let Some(left) = self.take(frame, &mut requests_max) {
                            return left;
                        }
                    }
                    Ok(None) => return Left::Failed(Status::unavailable("the node ended the stream")),
                    Err(status) => return Left::Failed(status),
                },
                room = frames.reserve(), if is_placed && self.pending.has_unsent() => match room {
                    Ok(room) => if let Some(frame) = self.pending.frame(Instant::now()) {
                        room.send(frame);
                    },
                    Err(_) => return Left::Failed(Status::unavailable("the connection was closed")),
                },
                taken = self.jobs.recv_many(&mut jobs, JOBS_AT_ONCE), if may_take => {
                    is_closed = taken == 0;
                    jobs.drain(..).for_each(|job| self.pending.add(job));
                }
                () = woken => {
                    let now = Instant::now();
                    self.pending.wake(now);
                    if silent_at.is_some_and(|at| at <= now) && !self.pending.is_empty() {
                        return Left::Failed(timeout_status(&self.connections[self.position].endpoint));
                    }
                }
            }
        }
    }

    /// Takes a frame of answers. Says where to go if the leader is elsewhere.
    fn take(&mut self, frame: pb::ServerFrame, requests_max: &mut usize) -> Option<Left> {
        let now = Instant::now();
        let endpoint = &self.connections[self.position].endpoint;
        if !frame.responses.is_empty() {
            self.failures = 0;
        }
        for response in frame.responses {
            self.pending.answered(response, endpoint, now);
        }
        let place = frame.place?;
        self.pending.set_frame_bytes_max(place.frame_bytes_max);
        *requests_max = usize::try_from(place.requests_max).unwrap_or(usize::MAX).max(1);
        let leader = place.leader.filter(|leader| leader.node_id != place.node_id)?;
        let address = leader.client_address?;
        let was_just_moved = self.moved_at.is_some_and(|at| now < at + REDIRECT_PAUSE);
        let position =
            self.connections.iter().position(|connection| connection.endpoint.as_str() == address)?;
        (!was_just_moved && position != self.position).then_some(Left::LeaderAt(position))
    }
}
