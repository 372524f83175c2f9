//! Where a node listens for clients.

use std::fmt;
use std::str::FromStr;

use crate::error::ClientError;

/// The address of one node, `host:port`.
///
/// It is read from `host:port` or `http://host:port`, the forms that etcd's tools take.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address as `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::InvalidEndpoint {
            endpoint: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.starts_with("https://") {
            return Err(invalid("TLS is not available yet, use http"));
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
        if host.is_empty() || host.contains(|character: char| character.is_whitespace() || character == '/') {
            return Err(invalid("the host is missing or malformed"));
        }
        match port.parse::<u16>() {
            Ok(0) | Err(_) => Err(invalid("the port is not a number from 1 to 65535")),
            Ok(_) => Ok(Self(address.to_owned())),
        }
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = ClientError;

    fn try_from(text: &str) -> Result<Self, ClientError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = ClientError;

    fn try_from(text: String) -> Result<Self, ClientError> {
        text.parse()
    }
}

impl From<&Endpoint> for Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        endpoint.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Endpoint;

    #[test]
    fn both_usual_forms_are_read() {
        for text in ["127.0.0.1:7400", "http://127.0.0.1:7400", "http://127.0.0.1:7400/"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().as_str(), "127.0.0.1:7400");
        }
        assert_eq!("[::1]:7400".parse::<Endpoint>().unwrap().as_str(), "[::1]:7400");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("127.0.0.1", "port is missing"),
            ("127.0.0.1:0", "1 to 65535"),
            ("127.0.0.1:http", "1 to 65535"),
            (":7400", "host is missing"),
            ("a b:7400", "host is missing or malformed"),
            ("https://127.0.0.1:7400", "TLS"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{text}: {error}");
        }
    }
}
