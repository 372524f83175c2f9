//! How long something may go on before others have their turn.

use std::time::{Duration, Instant};

/// A time for which something may go on in one turn, perhaps with breaks.
#[derive(Debug)]
pub(crate) struct Stretch {
    longest: Duration,
    begun: Option<Instant>,
    /// It was seen to be over.
    pub(crate) is_over: bool,
}

impl Stretch {
    /// One that has not begun.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, begun: None, is_over: false }
    }

    /// Begins, or goes on. Returns when that is: now.
    pub(crate) fn begin(&mut self) -> Instant {
        let now = Instant::now();
        self.begun.get_or_insert(now);
        now
    }

    /// Whether it is over by now.
    pub(crate) fn is_over_now(&mut self) -> bool {
        self.is_over = self.begun.is_some_and(|begun| begun.elapsed() >= self.longest);
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_its_time_has_passed_since_it_first_began() {
        let mut stretch = Stretch::new(Duration::from_millis(3));
        assert!(!stretch.is_over_now(), "it has not begun");
        stretch.begin();
        std::thread::sleep(Duration::from_millis(2));
        stretch.begin();
        std::thread::sleep(Duration::from_millis(2));
        assert!(stretch.is_over_now() && stretch.is_over);
        let mut long = Stretch::new(Duration::from_secs(3_600));
        long.begin();
        assert!(!long.is_over_now());
    }
}
