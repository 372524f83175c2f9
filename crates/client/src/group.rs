//! Which group of a cluster a client is about.

use std::fmt;
use std::str::FromStr;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderName, HeaderValue, Request, Response};
use tonic::transport;

/// The header of a request that names its group.
const HEADER: HeaderName = HeaderName::from_static("ruvector-group");
/// The group that every cluster has and every node is a member of.
const METADATA: &str = "metadata";
const NAME_BYTES_MAX: usize = 64;

/// The name of a group: 1 to 64 letters, digits, `-`, `_` and `.`. The default is the group that every cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName(String);

/// What can't be the name of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a group: it has 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'")]
pub struct InvalidGroupName(String);

impl GroupName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the group that every cluster has.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        self.0 == METADATA
    }

    /// What a request carries for it: nothing for the group that is meant without.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(&self.0);
        (!self.is_metadata()).then(|| value.expect("such names are good headers"))
    }
}

impl Default for GroupName {
    fn default() -> Self {
        Self(METADATA.to_owned())
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for GroupName {
    type Err = InvalidGroupName;

    fn from_str(text: &str) -> Result<Self, InvalidGroupName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
            return Err(InvalidGroupName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A channel whose requests name a group.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    channel: transport::Channel,
    group: Option<HeaderValue>,
}

impl Channel {
    pub(crate) fn new(channel: transport::Channel, group: &GroupName) -> Self {
        Self { channel, group: group.header() }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = transport::channel::ResponseFuture;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        Service::poll_ready(&mut self.channel, task)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(group) = &self.group {
            request.headers_mut().insert(HEADER, group.clone());
        }
        self.channel.call(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_only_another_group_than_the_usual_one_is_named() {
        let shard: GroupName = "shard-1".parse().unwrap();
        assert_eq!((shard.as_str(), shard.header().unwrap().to_str().unwrap()), ("shard-1", "shard-1"));
        assert_eq!(
            ("metadata".parse::<GroupName>().unwrap().header(), GroupName::default().header()),
            (None, None)
        );
        for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            let error = name.parse::<GroupName>().unwrap_err().to_string();
            assert!(error.contains("no name of a group"), "{error}");
        }
    }
}
