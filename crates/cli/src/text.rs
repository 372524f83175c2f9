//! Bytes, sizes and times as people read them.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes as text. What is not UTF-8, and control characters that would do something to a terminal, are shown as
/// `\xNN`; a backslash stays as it is, so this is for eyes and not for reading back.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && !matches!(character, '\n' | '\t') {
                escape(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(character);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// Like [`printable`], and in one line.
pub(crate) fn printable_line(bytes: &[u8]) -> String {
    printable(bytes).replace('\n', "\\n").replace('\t', "\\t")
}

/// Bytes as text in one line from which they could be read back: like [`printable_line`], with backslashes doubled.
pub(crate) fn unambiguous(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.split(|byte| *byte == b'\\').map(printable_line).collect();
    parts.join("\\\\")
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

/// What hexadecimal digits say, with spaces and colons between them if somebody likes; `None` if they are none.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().filter(|character| !matches!(character, ' ' | ':'));
    let digits: Vec<u8> = digits.map(|digit| Some(digit.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| (pair[0] << 4) | pair[1]).collect())
}

/// What base64 says; `None` if it is none.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Bytes in base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A size with three digits: `1.46 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A count and its noun: `1 node`, `3 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A duration in the unit that suits it: `250 µs`, `3.2 ms`, `1.5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_micros() {
        microseconds @ 0..1_000 => format!("{microseconds} µs"),
        microseconds @ 1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        microseconds => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

/// Cluster time, which runs while the cluster has a leader, as hours, minutes and seconds.
pub(crate) fn cluster_time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    format!("{}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, milliseconds % 1000)
}

/// A moment as part of a file name: `2026-11-23-081054`, in UTC.
pub(crate) fn time_for_names(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', "-").replace([':', 'Z'], "")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn text_stays_and_other_bytes_are_escaped() {
        assert_eq!(printable("grün\tund\nblau".as_bytes()), "grün\tund\nblau");
        assert_eq!(printable(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(printable(b"\x1b[31mred"), "\\x1b[31mred");
        assert_eq!(printable_line(b"a\nb"), "a\\nb");
    }

    #[test]
    fn different_keys_never_look_alike() {
        let keys: [&[u8]; 7] = [b"\xff", b"\\xff", b"\\\xff", b"\\\\xff", b"\n", b"\\n", b"\\\n"];
        let shown: std::collections::BTreeSet<String> = keys.iter().map(|key| unambiguous(key)).collect();
        assert_eq!(shown.len(), keys.len(), "{shown:?}");
        assert_eq!(unambiguous("grün".as_bytes()), "grün");
        assert_eq!(unambiguous(b"a\\b\xff"), "a\\\\b\\xff");
    }

    #[test]
    fn bytes_are_read_as_they_are_shown() {
        let bytes = [0, 255, 16, 1];
        assert_eq!(hex(&bytes), "00ff1001");
        assert_eq!(from_hex(&hex(&bytes)).unwrap(), bytes);
        assert_eq!(from_hex("00:FF 10:01").unwrap(), bytes);
        assert_eq!(from_hex("").unwrap(), b"");
        for wrong in ["0", "0g", "123", "é0"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
        assert_eq!(from_base64(&base64(&bytes)).unwrap(), bytes);
        assert_eq!(from_base64("a"), None);
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_536, "1.50 KiB"),
            (10_240, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (64 << 20, "64.0 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_have_their_forms() {
        assert_eq!(cluster_time(0), "0:00:00.000");
        assert_eq!(cluster_time(90_061_001), "25:01:01.001");
        let moment = UNIX_EPOCH + Duration::from_secs(1_795_421_454);
        assert_eq!(time_for_names(moment), "2026-11-23-081054");
    }

    #[test]
    fn durations_choose_their_unit() {
        assert_eq!(duration(Duration::from_micros(250)), "250 µs");
        assert_eq!(duration(Duration::from_micros(3_210)), "3.2 ms");
        assert_eq!(duration(Duration::from_millis(1_500)), "1.5 s");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(count(3, "node"), "3 nodes");
    }
}
