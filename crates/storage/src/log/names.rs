//! The names of the log's files.

/// The directory of the log.
pub(super) const DIRECTORY: &str = "log";

const SEGMENT_SUFFIX: &str = ".segment";
const SPARE_SUFFIX: &str = ".spare";
const NUMBER_DIGITS: usize = 20;

/// The path of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{DIRECTORY}/{number:0NUMBER_DIGITS$}{SEGMENT_SUFFIX}")
}

/// The path of a file that waits to be a segment again.
pub(super) fn spare_name(number: u64) -> String {
    format!("{DIRECTORY}/{number:0NUMBER_DIGITS$}{SPARE_SUFFIX}")
}

/// The path of a file that is made and removed at a start: a spare, so that nothing comes of one that is left.
pub(super) fn probe_name() -> String {
    spare_name(0)
}

/// A segment's number, from its name in the directory.
pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(SEGMENT_SUFFIX)?)
}

/// A spare's number, from its name in the directory.
pub(super) fn parse_spare_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(SPARE_SUFFIX)?)
}

fn parse_number(digits: &str) -> Option<u64> {
    let plain = digits.len() == NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}
