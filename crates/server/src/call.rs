//! A call under way, from its request to the head of its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderValue, Response, Uri};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline;
use crate::held::{self, Account, Sent};

/// What a service answers.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A call under way: it ends with its service's answer or at its deadline, in the words of Go's gRPC, which etcd's clients know.
///
/// One future and not one for each of these: every call goes through here, and each layer would cost it an allocation.
pub(crate) struct Call {
    answer: Answer,
    /// The path, unless it is a method's that there is.
    unknown: Option<Uri>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Until there is an answer.
    account: Option<Account>,
}

impl Call {
    /// A call that may take as long as its client says, if it does. `unknown` is its path if that names no method.
    pub(crate) fn new(
        answer: Answer,
        unknown: Option<Uri>,
        limit: Option<Duration>,
        account: Account,
    ) -> Self {
        let deadline = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
        Self { answer, unknown, deadline, account: Some(account) }
    }

    /// A call that is answered without a service.
    pub(crate) fn answered(response: Response<Body>, account: Account) -> Self {
        Self::new(Box::pin(std::future::ready(Ok(response))), None, None, account)
    }

    /// The service's answer; at the deadline that there is none. What was asked for may still be done after that.
    fn poll_answer(&mut self, task: &mut Task<'_>) -> Poll<Response<Body>> {
        if let Poll::Ready(Ok(response)) = self.answer.as_mut().poll(task) {
            return Poll::Ready(response);
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(task));
        Poll::Ready(deadline::exceeded().into_http())
    }
}

impl Future for Call {
    type Output = Result<Response<Sent>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let response = as_go_says_it(ready!(self.poll_answer(task)), self.unknown.take());
        let account = self.account.take().expect("a call is answered once");
        Poll::Ready(Ok(held::sent(response, account, self.deadline.take())))
    }
}

/// Some refusals are told by tonic in another way than by Go's gRPC: a message beyond the limit of the wire has another code, and
/// a method that there is not is not named.
fn as_go_says_it(mut response: Response<Body>, unknown: Option<Uri>) -> Response<Body> {
    // Only a refusal has its status in the headers.
    let Some(code) =
        response.headers().get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
    else {
        return response;
    };
    if code == Code::OutOfRange && is_too_large(&response) {
        let code = HeaderValue::from(Code::ResourceExhausted as i32);
        response.headers_mut().insert(Status::GRPC_STATUS, code);
    }
    match unknown {
        Some(uri) if code == Code::Unimplemented && is_without_message(&response) => {
            unknown_method(&uri).into_http()
        }
        _ => response,
    }
}

fn unknown_method(uri: &Uri) -> Status {
    let (service, method) = uri.path().trim_start_matches('/').split_once('/').unwrap_or_default();
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

fn is_without_message(response: &Response<Body>) -> bool {
    response.headers().get(Status::GRPC_MESSAGE).is_none_or(HeaderValue::is_empty)
}

fn is_too_large(response: &Response<Body>) -> bool {
    let message = response.headers().get(Status::GRPC_MESSAGE);
    message
        .is_some_and(|text| text.as_bytes().starts_with(b"Error,%20decoded%20message%20length%20too%20large"))
}
