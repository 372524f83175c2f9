//! The time that a client gives a call, in gRPC's header for it.

use std::time::Duration;

use axum::http::HeaderMap;
use tonic::Status;

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

/// What a call is told that took longer than its client gives it. In Go's words, which etcd's clients print.
pub(crate) fn exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
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
