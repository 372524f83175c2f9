//! This node's clock.

use rustix::time::{ClockId, clock_gettime};
use ruvector_protocol::Timestamp;

/// Microseconds since the machine's start, going on while it is suspended: a leader's lease must not
/// outlive a suspension that it did not see.
pub(crate) fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Boottime);
    // The clock starts at 0 and rises, so neither part is negative.
    Timestamp(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000)
}
