//! How much history is kept: the flags of `init` and `serve`, and the words for it.

use std::time::Duration;

use clap::Args;
use ruvector_client::RetentionStatus;
use ruvector_server::RetentionOptions;
use serde::{Deserialize, Serialize};

use crate::text::size;

/// How much history is kept.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetentionArguments {
    /// Keep changes of keys for so long, for watches and reads of older revisions; `off` as in etcd, until somebody
    /// compacts [default: 1h].
    #[arg(long, value_name = "TIME|off", value_parser = parse_age)]
    retention_age: Option<u64>,

    /// Keep so many bytes of changes; `off` for any number [default: 512MiB].
    #[arg(long, value_name = "BYTES|off", value_parser = parse_bytes)]
    retention_bytes: Option<u64>,
}

/// No bound.
const OFF: &str = "off";

impl RetentionArguments {
    pub(crate) fn options(self) -> RetentionOptions {
        RetentionOptions { age_seconds: self.retention_age, bytes: self.retention_bytes }
    }

    /// The flags that say the same.
    pub(crate) fn flags(self) -> Vec<String> {
        let or_off = |number: u64, text: String| if number == 0 { OFF.to_owned() } else { text };
        let age = self.retention_age.map(|seconds| or_off(seconds, format!("{seconds}s")));
        let bytes = self.retention_bytes.map(|bytes| or_off(bytes, bytes.to_string()));
        let age = age.into_iter().flat_map(|age| ["--retention-age".to_owned(), age]);
        let bytes = bytes.into_iter().flat_map(|bytes| ["--retention-bytes".to_owned(), bytes]);
        age.chain(bytes).collect()
    }
}

/// What a node keeps, in a few words.
pub(crate) fn describe(retention: RetentionStatus) -> String {
    let RetentionStatus { age_ms, bytes } = retention;
    let age = age_ms.map(|age_ms| humantime::format_duration(Duration::from_millis(age_ms)).to_string());
    let limits: Vec<String> = age.into_iter().chain(bytes.map(size)).collect();
    if limits.is_empty() { "all".to_owned() } else { limits.join(", ") }
}

fn parse_age(text: &str) -> Result<u64, String> {
    if text == OFF {
        return Ok(0);
    }
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match age.as_secs() {
        0 => Err("it must be at least a second, or `off`".to_owned()),
        seconds => Ok(seconds),
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    if text == OFF {
        return Ok(0);
    }
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("`{other}` is no unit: KiB, MiB and GiB are")),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    match number.checked_mul(unit) {
        None => Err("it is too large".to_owned()),
        Some(0) => Err("it must be more, or `off`".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_and_written_as_flags() {
        assert_eq!((parse_age("1h"), parse_age("90s"), parse_age("off")), (Ok(3_600), Ok(90), Ok(0)));
        assert!(parse_age("10ms").is_err() && parse_age("long").is_err());
        for (text, bytes) in
            [("off", 0), ("4096", 4_096), ("2KiB", 2_048), ("512 MiB", 512 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1 MB", "-1", "0", "99999999999GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        let flags =
            |age, bytes| RetentionArguments { retention_age: age, retention_bytes: bytes }.flags().join(" ");
        assert_eq!(flags(Some(0), Some(5)), "--retention-age off --retention-bytes 5");
        assert_eq!(flags(Some(60), None), "--retention-age 60s");
    }

    #[test]
    fn what_is_kept_is_told_in_a_few_words() {
        let both = RetentionStatus { age_ms: Some(3_600_000), bytes: Some(512 << 20) };
        assert_eq!(describe(both), "1h, 512 MiB");
        assert_eq!(describe(RetentionStatus::default()), "all");
    }
}
