//! Why a verb did not do what was asked.

use std::io;

use ruvector_client::ClientError;

/// What every verb gives.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a verb did not do what was asked. A text is one line that ends with what to do next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was typed makes no sense: exit code 2, as for anything that the parser refuses.
    Usage(String),
    /// It makes sense and could not be done: exit code 1.
    Failed {
        /// For programs: a word for every kind of failure.
        kind: &'static str,
        /// For people.
        text: String,
    },
    /// Whoever read our output has enough, as `head` does: nothing to say.
    OutputClosed,
}

impl Failure {
    /// What was typed makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// It could not be done, for a reason that programs need not tell from others.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::of_kind("failed", text)
    }

    /// It could not be done, for a reason that has a word.
    pub(crate) fn of_kind(kind: &'static str, text: impl Into<String>) -> Self {
        Self::Failed { kind, text: text.into() }
    }

    /// The same, and what to do next.
    pub(crate) fn and(self, next: &str) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{text}; {next}")),
            Self::Failed { kind, text } => Self::Failed { kind, text: format!("{text}; {next}") },
            Self::OutputClosed => Self::OutputClosed,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match error {
            ClientError::InvalidEndpoint { .. } | ClientError::NoEndpoints => {
                return Self::Usage(error.to_string());
            }
            ClientError::Unreachable { .. } => "unreachable",
            ClientError::NoLeader { .. } => "no-leader",
            ClientError::Busy { .. } => "busy",
            ClientError::OutcomeUnknown { .. } => "outcome-unknown",
            ClientError::TimedOut { .. } => "timed-out",
            ClientError::Compacted { .. } => "compacted",
            ClientError::TooLarge { .. } => "too-large",
            ClientError::Refused { .. } => "refused",
            ClientError::Unsupported { .. } => "unsupported",
            ClientError::Malformed { .. } => "malformed",
        };
        Self::of_kind(kind, error.to_string())
    }
}

/// Adds to an error of the operating system what was being done.
pub(crate) trait Doing<T> {
    /// `doing` reads as in "can't write /some/file".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::failed(format!("can't {}: {error}", doing())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_the_kind_of_every_error() {
        let reason = || "r".to_owned();
        for (error, kind) in [
            (ClientError::Unreachable { endpoints: reason(), reason: reason() }, "unreachable"),
            (ClientError::NoLeader { reason: reason() }, "no-leader"),
            (ClientError::Busy { reason: reason() }, "busy"),
            (ClientError::OutcomeUnknown { reason: reason() }, "outcome-unknown"),
            (ClientError::TimedOut { reason: reason() }, "timed-out"),
            (ClientError::Compacted { oldest: None, reason: reason() }, "compacted"),
            (ClientError::TooLarge { reason: reason() }, "too-large"),
            (ClientError::Refused { reason: reason() }, "refused"),
            (ClientError::Unsupported { endpoint: reason(), reason: reason() }, "unsupported"),
            (ClientError::Malformed { reason: reason() }, "malformed"),
        ] {
            let text = error.to_string();
            let failure = Failure::from(error);
            assert!(
                matches!(&failure, Failure::Failed { kind: given, text: said } if *given == kind && *said == text),
                "{kind}: {failure:?}"
            );
        }
        assert!(matches!(Failure::from(ClientError::NoEndpoints), Failure::Usage(_)));
    }
}
