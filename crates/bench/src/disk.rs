//! How fast this disk makes a small write durable: what no system that keeps its word can beat for one client.

use std::fmt;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::figure::text;
use crate::recording::{Latencies, ratio};

const BLOCK_BYTES: usize = 4096;
/// Blocks of the file, which is written before: as in a log of segments that are used again, no sync has to
/// write the file's length.
const BLOCKS: u64 = 1024;
const TIME: Duration = Duration::from_millis(500);

/// What one thread reaches that writes 4 KiB and syncs, again and again.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct SyncRate {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl fmt::Display for SyncRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, p50_ms, p99_ms } = self;
        let (per_second, p50, p99) = (text(*per_second), text(*p50_ms), text(*p99_ms));
        write!(formatter, "{per_second} syncs/s of 4 KiB, p50 {p50} ms, p99 {p99} ms")
    }
}

/// Measures it in this directory, for about half a second.
///
/// # Errors
/// If there can't be written.
pub(crate) fn sync_rate(directory: &Path) -> Result<SyncRate> {
    let mut file = tempfile::tempfile_in(directory)?;
    let block = [b's'; BLOCK_BYTES];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        if latencies.count().is_multiple_of(BLOCKS) {
            file.seek(SeekFrom::Start(0))?;
        }
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.record(start.elapsed());
    }
    Ok(SyncRate {
        per_second: ratio(latencies.count(), begun.elapsed().as_secs_f64()),
        p50_ms: latencies.quantile_ms(0.5),
        p99_ms: latencies.quantile_ms(0.99),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_agrees_with_its_latencies() {
        let directory = tempfile::tempdir().unwrap();
        let rate = sync_rate(directory.path()).unwrap();
        assert!(rate.per_second > 0.0 && rate.p50_ms > 0.0 && rate.p50_ms <= rate.p99_ms, "{rate}");
    }
}
