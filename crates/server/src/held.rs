//! Counts what a connection's calls have the node hold: requests as they arrive, answers until they are sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use axum::BoxError;
use axum::http::Response;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use ruvector_node::daemon::{Permit, Share};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::chunks::{counted, trailers};
use crate::deadline;
use crate::service::caller::ROOM_RETRY;
use crate::wire::busy::busy;
use crate::wire::pieces::{Large, Pieces};

/// What a call takes while it is open, beside its header and its messages: its task, and the buffers that wait for messages.
pub(crate) const CALL_BYTES: usize = 8 << 10;
/// Smaller chunks of an answer are part of what a call takes.
const COUNTED_BYTES: usize = 1 << 10;
/// What a chunk of a stream takes beside its bytes.
const CHUNK_BYTES: usize = 256;

/// A request's body, counted as it is announced and arrives. What finds no room ends the call, with an error that can be tried again.
#[derive(Debug)]
pub(crate) struct Received {
    body: Incoming,
    permit: Permit,
    messages: Messages,
}

impl Received {
    /// A body of messages that may take so many bytes each.
    pub(crate) fn new(body: Incoming, kind: Kind, share: &Arc<Share>, message_bytes_max: usize) -> Self {
        Self { body, permit: share.take_anyway(0), messages: Messages::new(kind, message_bytes_max) }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(task)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            let held = this.messages.held_after(this.permit.bytes(), data);
            let more = held.saturating_sub(this.permit.bytes());
            this.permit.shrink_to(held);
            if this.permit.grow(more).is_err() {
                return Poll::Ready(Some(Err(busy().into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What stands before each message of gRPC: a flag, and its length.
const HEADER_BYTES: usize = 5;

/// How far a body has come in its messages.
///
/// A message is counted as a whole as soon as its length is known, for then the room for it is made.
#[derive(Debug)]
struct Messages {
    /// Each message is passed on when it is whole, and held no longer. Otherwise there is to be one, and all that comes is held
    /// until that is decoded.
    are_passed: bool,
    /// What a message may take: one that announces more is refused before it comes.
    bytes_max: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// What is still to come of the present message.
    rest: usize,
    /// What is counted of that already.
    announced: usize,
}

impl Messages {
    fn new(kind: Kind, bytes_max: usize) -> Self {
        let are_passed = kind == Kind::Stream;
        Self { are_passed, bytes_max, header: [0; HEADER_BYTES], header_bytes: 0, rest: 0, announced: 0 }
    }

    /// How much is held after some more has come.
    fn held_after(&mut self, mut held: usize, mut data: &[u8]) -> usize {
        while !data.is_empty() {
            if self.rest > 0 {
                let taken = data.len().min(self.rest);
                data = &data[taken..];
                self.rest -= taken;
                held += taken.saturating_sub(self.announced);
                self.announced = self.announced.saturating_sub(taken);
            } else {
                let taken = data.len().min(HEADER_BYTES - self.header_bytes);
                self.header[self.header_bytes..][..taken].copy_from_slice(&data[..taken]);
                data = &data[taken..];
                self.header_bytes += taken;
                held += taken;
                if self.header_bytes < HEADER_BYTES {
                    continue;
                }
                let [_, length @ ..] = self.header;
                self.rest = u32::from_be_bytes(length) as usize;
                self.header_bytes = 0;
                self.announced = self.rest.min(self.bytes_max);
                held += self.announced;
            }
            if self.are_passed && self.rest == 0 && self.header_bytes == 0 {
                held = 0;
            }
        }
        held
    }
}

/// What kind of call a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One answer, which can be refused as long as it is not sent.
    Read,
    /// One answer, to something that is done.
    Write,
    /// A stream of messages both ways.
    Stream,
}

/// What a call is counted as, and on whose account.
pub(crate) struct Account {
    pub(crate) kind: Kind,
    pub(crate) share: Arc<Share>,
    /// For the call itself.
    pub(crate) permit: Permit,
}

/// An answer's body, counted until it is sent. The call is counted with it.
#[derive(Debug)]
pub(crate) struct Sent {
    answer: Answer,
    share: Arc<Share>,
    /// When it must have come to its end, if the client says.
    deadline: Option<Pin<Box<Sleep>>>,
    #[expect(dead_code, reason = "let go when dropped")]
    call: Permit,
}

#[derive(Debug)]
enum Answer {
    Whole {
        body: tonic::body::Body,
        kind: Kind,
    },
    Pieces(Box<Pieces>),
    Stream {
        body: tonic::body::Body,
        pace: Pace,
    },
    /// There is no more of it.
    Ended,
}

/// The answer to a call, counted. It must come to its end by the deadline, if there is one.
pub(crate) fn sent(
    mut response: Response<tonic::body::Body>,
    account: Account,
    deadline: Option<Pin<Box<Sleep>>>,
) -> Response<Sent> {
    let Account { kind, share, permit } = account;
    let pieces = response.extensions_mut().remove::<Large>().and_then(Large::into_pieces);
    response.map(|body| {
        let answer = match (pieces, kind) {
            (Some(pieces), _) => Answer::Pieces(Box::new(pieces)),
            (None, Kind::Stream) => Answer::Stream { body, pace: Pace::default() },
            (None, Kind::Read | Kind::Write) => Answer::Whole { body, kind },
        };
        Sent { answer, share, deadline, call: permit }
    })
}

/// The answer to a call for which there is no room.
pub(crate) fn refused() -> Response<tonic::body::Body> {
    busy().into_http()
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if !this.is_overdue()
            && let Poll::Ready(frame) = this.poll_answer(task)
        {
            return Poll::Ready(frame);
        }
        let Some(deadline) = &mut this.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(task));
        this.answer = Answer::Ended;
        this.deadline = None;
        Poll::Ready(Some(trailers(&deadline::exceeded())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.answer {
            Answer::Whole { body, .. } | Answer::Stream { body, .. } => body.is_end_stream(),
            Answer::Pieces(pieces) => pieces.is_end(),
            Answer::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Whole { body, .. } => body.size_hint(),
            Answer::Stream { .. } | Answer::Pieces(_) | Answer::Ended => SizeHint::default(),
        }
    }
}

impl Sent {
    /// Whether an answer that always has more to send has taken too long.
    fn is_overdue(&self) -> bool {
        let is_long = matches!(self.answer, Answer::Pieces(_));
        is_long && self.deadline.as_ref().is_some_and(|deadline| deadline.deadline() <= Instant::now())
    }

    fn poll_answer(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.answer {
            Answer::Pieces(pieces) => pieces.poll_frame(task),
            Answer::Ended => Poll::Ready(None),
            Answer::Stream { body, pace } => {
                ready!(pace.poll_turn(&self.share, task));
                let frame = ready!(Pin::new(body).poll_frame(task));
                Poll::Ready(
                    frame.map(|frame| {
                        frame.map(|frame| frame.map_data(|data| pace.counted(&self.share, data)))
                    }),
                )
            }
            Answer::Whole { body, kind } => {
                let frame = match ready!(Pin::new(body).poll_frame(task)) {
                    Some(Ok(frame)) => frame,
                    ended => return Poll::Ready(ended),
                };
                let data = match frame.into_data() {
                    Ok(data) if data.len() >= COUNTED_BYTES => data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                };
                let permit = match kind {
                    Kind::Read => self.share.take(data.len()),
                    Kind::Write | Kind::Stream => Ok(self.share.take_anyway(data.len())),
                };
                let Ok(permit) = permit else {
                    self.answer = Answer::Ended;
                    return Poll::Ready(Some(trailers(&busy())));
                };
                Poll::Ready(Some(Ok(Frame::data(counted(permit, data)))))
            }
        }
    }
}

/// Lets a stream whose client does not take what was sent wait, while the client holds more than its share.
#[derive(Debug, Default)]
struct Pace {
    /// Shared with every chunk that is not sent yet.
    unsent: Arc<()>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn poll_turn(&mut self, share: &Share, task: &mut Task<'_>) -> Poll<()> {
        while Arc::strong_count(&self.unsent) > 1 && !share.is_within() {
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(ROOM_RETRY)));
            ready!(waiting.as_mut().poll(task));
            self.waiting = None;
        }
        self.waiting = None;
        Poll::Ready(())
    }

    fn counted(&self, share: &Arc<Share>, data: Bytes) -> Bytes {
        let permit = share.take_anyway(data.len() + CHUNK_BYTES);
        counted((permit, Arc::clone(&self.unsent)), data)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_node::daemon::Budget;

    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&length.to_be_bytes());
        message.resize(HEADER_BYTES + length as usize, 7);
        message
    }

    #[test]
    fn of_a_stream_only_the_message_under_way_is_held() {
        let whole = [message(3), message(0), message(70), message(9)].concat();
        for cut in 0..whole.len() {
            let mut messages = Messages::new(Kind::Stream, 1_000);
            let held = messages.held_after(0, &whole[..cut]);
            let begins = [(0, 8), (8, 5), (13, 75), (88, 14)];
            let (begun, bytes) = begins.into_iter().rfind(|(begin, _)| *begin <= cut).unwrap();
            let come = cut - begun;
            let counted = if come < HEADER_BYTES { come } else { bytes };
            assert_eq!(held, counted, "cut at {cut}");
            assert_eq!(messages.held_after(held, &whole[cut..]), 0);
        }
    }

    #[test]
    fn of_a_call_with_one_message_everything_is_held() {
        let mut messages = Messages::new(Kind::Write, 1_000);
        let held = messages.held_after(0, &message(70)[..9]);
        assert_eq!(held, 75, "as soon as its length is known");
        assert_eq!(messages.held_after(held, &message(70)[9..]), 75);
        assert_eq!(messages.held_after(75, &message(3)), 83, "and what comes behind it");
    }

    #[test]
    fn what_is_announced_counts_up_to_what_a_message_may_take_and_then_as_it_comes() {
        let mut messages = Messages::new(Kind::Write, 100);
        let large = message(150);
        assert_eq!(messages.held_after(0, &large[..HEADER_BYTES]), 105);
        assert_eq!(messages.held_after(105, &large[HEADER_BYTES..115]), 115);
        assert_eq!(messages.held_after(115, &large[115..]), 155);
    }

    #[test]
    fn a_chunk_is_held_until_its_last_part_is_sent() {
        let budget = Budget::new(1_000);
        let bytes = counted(budget.share().take(100).unwrap(), vec![0; 100]);
        let part = bytes.slice(90..);
        drop(bytes);
        assert_eq!(budget.held(), 100);
        drop(part);
        assert_eq!(budget.held(), 0);
    }
}
