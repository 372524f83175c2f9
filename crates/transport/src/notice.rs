//! Log lines that may come often and must not fill the log.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The same thing is said again only after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Logs a warning the first time, then keeps silent about the same kind of thing for a while.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    kinds: Mutex<BTreeMap<&'static str, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    suppressed: u64,
}

impl Notices {
    /// Says `text`, unless something of this `kind` was said lately. Kinds are few: each is remembered.
    pub(crate) fn warn(&self, kind: &'static str, text: std::fmt::Arguments<'_>) {
        let mut kinds = self.kinds.lock().expect("nothing panics while holding this lock");
        let now = Instant::now();
        let said = kinds.get_mut(kind);
        let suppressed = match said {
            Some(said) if now.duration_since(said.at) < REPEAT_AFTER => {
                said.suppressed += 1;
                return;
            }
            Some(said) => std::mem::take(&mut said.suppressed),
            None => 0,
        };
        kinds.insert(kind, Said { at: now, suppressed: 0 });
        drop(kinds);
        if suppressed == 0 {
            tracing::warn!("{text}");
        } else {
            tracing::warn!("{text} ({suppressed} more like it since it was last said)");
        }
    }

    /// What went wrong is over: if it comes back it is news again.
    pub(crate) fn forget(&self) {
        self.kinds.lock().expect("nothing panics while holding this lock").clear();
    }
}
