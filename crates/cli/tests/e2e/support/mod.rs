//! What the end-to-end tests share.

mod cluster;
mod load;
mod process;

use std::time::{Duration, Instant};

pub(crate) use cluster::{Cluster, Turn, flip_byte};
pub(crate) use load::{Ledger, Load};
pub(crate) use process::{Background, Lines, Ran, run, ruvector};

/// Far longer than anything takes that works, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `look` finds something.
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `holds`.
pub(crate) fn await_condition(what: &str, mut holds: impl FnMut() -> bool) {
    await_some(what, || holds().then_some(()));
}
