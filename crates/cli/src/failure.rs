//! Why a verb did not do what was asked, and what the shell is told.

use std::io;
use std::process::ExitCode;

use ruvector_client::ClientError;

use crate::output;

/// What every verb gives.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a verb did not do what was asked. A text is one line that ends with what to do next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was typed makes no sense: exit code 2, as for anything that the parser refuses.
    Usage(String),
    /// It makes sense and could not be done: exit code 1.
    Failed(String),
    /// Whoever read our output has enough, as `head` does: nothing to say.
    OutputClosed,
}

impl Failure {
    /// What was typed makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// It could not be done.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// The same, and what to do next.
    pub(crate) fn and(self, next: &str) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{text}; {next}")),
            Self::Failed(text) => Self::Failed(format!("{text}; {next}")),
            Self::OutputClosed => Self::OutputClosed,
        }
    }

    /// Says it on standard error; gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(text) => {
                output::error_line(&text);
                ExitCode::from(2)
            }
            Self::Failed(text) => {
                output::error_line(&text);
                ExitCode::FAILURE
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::InvalidEndpoint { .. } | ClientError::NoEndpoints => Self::Usage(error.to_string()),
            ClientError::Unreachable { .. }
            | ClientError::NoLeader { .. }
            | ClientError::Busy { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Compacted { .. }
            | ClientError::Refused { .. }
            | ClientError::Unsupported { .. }
            | ClientError::Malformed { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// Adds to an error of the operating system what was being done.
pub(crate) trait Doing<T> {
    /// `doing` reads as in "can't write /some/file".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::Failed(format!("can't {}: {error}", doing())))
    }
}
