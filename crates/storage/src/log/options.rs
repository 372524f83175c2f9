//! How the log is laid out.

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Size of a segment file, in bytes, 2 GiB at most. A single [`Write`](ruvector_protocol::Write) that is larger gets a larger
    /// segment.
    pub segment_bytes: u64,
    /// How many used segments are kept to be used again.
    pub recycled_segments_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, recycled_segments_max: 2 }
    }
}
