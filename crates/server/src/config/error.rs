//! What is wrong with a configuration.

/// Why a configuration can't be used. Every text is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong kind.
    #[error("{file}, line {line}: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, with the valid keys where a key is.
        reason: String,
    },
    /// Something that has no default is missing.
    #[error("`{key}` is missing: give {flag} or set it in the configuration file")]
    Missing {
        /// The key.
        key: &'static str,
        /// The flag.
        flag: &'static str,
    },
    /// A value makes no sense.
    #[error("`{key}` {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Sees that a number is within its bounds.
pub(super) fn check_bounds(key: &'static str, given: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(ConfigError::Value { key, reason: format!("must be from {least} to {most}, not {given}") })
}
