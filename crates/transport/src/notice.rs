//! Log lines that may come often and must not fill the log.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The same thing is said again only after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Says something the first time, then keeps silent about the same kind of thing for a minute, and counts.
///
/// What anybody on the network can bring about must be said through one of these: otherwise whoever repeats it fills the disk.
#[derive(Debug, Default)]
pub struct Notices {
    kinds: Mutex<BTreeMap<&'static str, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    suppressed: u64,
}

impl Notices {
    /// Warns of `text`, unless something of this `kind` was said lately. Kinds are few: each is remembered.
    pub fn warn(&self, kind: &'static str, text: Arguments<'_>) {
        match self.may_say(kind, Instant::now()) {
            Some(0) => tracing::warn!("{text}"),
            Some(suppressed) => tracing::warn!("{text} ({suppressed} more like it since it was last said)"),
            None => {}
        }
    }

    /// Like [`warn`](Self::warn), for what is no fault. Answers whether it was said.
    pub fn info(&self, kind: &'static str, text: Arguments<'_>) -> bool {
        match self.may_say(kind, Instant::now()) {
            Some(0) => tracing::info!("{text}"),
            Some(suppressed) => tracing::info!("{text} ({suppressed} more like it since it was last said)"),
            None => return false,
        }
        true
    }

    /// What went wrong is over: if it comes back it is news again. Answers how many lines were left out.
    pub(crate) fn forget(&self) -> u64 {
        std::mem::take(&mut *self.kinds()).values().map(|said| said.suppressed).sum()
    }

    /// How often it was not said since it last was; `None` if it must not be said now.
    fn may_say(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds();
        if let Some(said) = kinds.get_mut(kind)
            && now.duration_since(said.at) < REPEAT_AFTER
        {
            said.suppressed += 1;
            return None;
        }
        let before = kinds.insert(kind, Said { at: now, suppressed: 0 });
        Some(before.map_or(0, |said| said.suppressed))
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<&'static str, Said>> {
        self.kinds.lock().expect("nothing panics while holding this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_said_once_and_then_with_a_count() {
        let notices = Notices::default();
        let begin = Instant::now();
        assert_eq!(notices.may_say("refused", begin), Some(0));
        for number in 0..9_131 {
            assert_eq!(notices.may_say("refused", begin + Duration::from_micros(number)), None);
        }
        assert_eq!(notices.may_say("lost", begin), Some(0), "another cause is news");
        assert_eq!(notices.may_say("refused", begin + REPEAT_AFTER), Some(9_131));
        assert_eq!(notices.may_say("refused", begin + REPEAT_AFTER), None);
        assert_eq!(notices.may_say("refused", begin + REPEAT_AFTER * 2), Some(1));
    }

    #[test]
    fn what_was_over_is_news_when_it_comes_back() {
        let notices = Notices::default();
        let now = Instant::now();
        for kind in ["lost", "lost", "refused", "lost"] {
            notices.may_say(kind, now);
        }
        assert_eq!(notices.forget(), 2);
        assert_eq!(notices.may_say("lost", now), Some(0));
        assert_eq!(notices.forget(), 0);
    }
}
