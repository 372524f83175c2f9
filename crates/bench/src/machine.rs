//! What was measured on.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::recording::as_float;

const BYTES_PER_GIB: f64 = 1_073_741_824.0;

/// The machine, as far as it tells.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// The kind of file system that holds the data.
    pub(crate) filesystem: String,
    /// The day, as `year-month-day`.
    pub(crate) date: String,
}

impl Machine {
    /// Looks around. What can't be found out is said to be unknown.
    pub(crate) fn look(data: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self {
            processor: value_of(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_bytes(&read("/proc/meminfo")).map_or(0.0, as_float) / BYTES_PER_GIB,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: data
                .canonicalize()
                .ok()
                .and_then(|data| filesystem_of(&read("/proc/mounts"), &data))
                .unwrap_or_else(unknown),
            date: today(),
        }
    }
}

/// Of lines `name : value`.
fn value_of(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|word| word.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kibibytes: u64 = value_of(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The kind of the file system with the longest mount point above `file`.
fn filesystem_of(mounts: &str, file: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let above = mounts.filter(|(point, _)| file.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}

fn today() -> String {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(elapsed.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The day so many days after the first of January 1970, by stepping through years and months.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(11_017), (2000, 3, 1));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x/y xfs rw 0 0\n";
        let filesystem = |file| filesystem_of(mounts, Path::new(file));
        assert_eq!(filesystem("/home/a").as_deref(), Some("ext4"));
        assert_eq!(filesystem("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(filesystem("/tmp/x/y/z").as_deref(), Some("xfs"));
        assert_eq!(filesystem("/tmpfile").as_deref(), Some("ext4"));
    }

    #[test]
    fn values_are_found_by_their_names() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nMemTotal:  1024 kB\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("A CPU: fast"));
        assert_eq!(memory_bytes(text), Some(1 << 20));
        assert_eq!(value_of(text, "model"), None);
    }
}
