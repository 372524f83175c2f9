//! What a cluster of this machine is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a local cluster: fit to be a file name everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ClusterName(String);

impl ClusterName {
    /// The name that `init` gives if none is given.
    pub(crate) fn default_name() -> Self {
        Self("default".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default_name()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LENGTH_MAX: usize = 63;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins_well && text.len() <= LENGTH_MAX && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a name has 1 to {LENGTH_MAX} letters, digits, `-`, `_` and `.`, and begins with a letter or digit"
            ))
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_the_registry_is_refused() {
        for name in ["", ".", "..", "../x", "a/b", "-a", "a b", "ä", &"x".repeat(64)] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
        for name in ["default", "a", "A.b_c-9", &"x".repeat(63)] {
            assert!(name.parse::<ClusterName>().is_ok(), "{name}");
        }
    }
}
