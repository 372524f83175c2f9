//! The time that a client gives a call, in gRPC's header for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, timeout_at};
use tonic::Status;
use tonic::body::Body;

use crate::frontend::Answer;

/// The header: at most eight digits, and a unit.
const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// The time that a call may take, if the client says.
pub(crate) fn limit(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse);
    parsed.map(Some).ok_or_else(|| Status::internal(format!("malformed {HEADER}: {value:?}")))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The answer, or at the deadline that there is none. What was asked for may still be done after that.
pub(crate) fn within(limit: Duration, answer: Answer) -> Answer {
    Box::pin(async move {
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, answer).await {
            Ok(answered) => Ok(answered?.map(|body| Body::new(Until::new(body, deadline)))),
            Err(_) => Ok(exceeded().into_http()),
        }
    })
}

fn exceeded() -> Status {
    // Go's text, which etcd's clients print.
    Status::deadline_exceeded("context deadline exceeded")
}

/// A body that ends at a deadline, if it does not end before.
struct Until {
    body: Option<Body>,
    deadline: Pin<Box<Sleep>>,
}

impl Until {
    fn new(body: Body, deadline: Instant) -> Self {
        Self { body: Some(body), deadline: Box::pin(tokio::time::sleep_until(deadline)) }
    }
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        self.body = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(exceeded().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

/// The answer to a call that can't be made.
pub(crate) fn refused(status: Status) -> Answer {
    Box::pin(std::future::ready(Ok::<Response<Body>, Infallible>(status.into_http())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_up_to_eight_digits_and_a_unit() {
        let hours = Duration::from_secs(99_999_999 * 3600);
        for (text, expected) in [
            ("2H", Duration::from_secs(7_200)),
            ("99999999H", hours),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "xx", "1\u{e9}"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
