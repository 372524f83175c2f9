//! How many bytes the clients of a node may make it hold.
//!
//! One [`Budget`] bounds what clients have the node keep for them, whatever it is: messages that arrive, commands that wait,
//! answers that are not taken. Each client has a [`Share`] of it, and what is held on its account is a [`Permit`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The bytes that all clients together may make a node hold.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
    refused: AtomicU64,
}

/// What one client holds of a budget.
///
/// A client may hold as much as is left for all others, and no more: alone it gets half of the budget, and `n` that want
/// everything get an equal part each and leave one for the next. So nobody needs to know how many there are, and who comes late
/// finds room.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

/// Bytes that are held on a client's account, until this is dropped.
#[derive(Debug)]
#[must_use = "what it stands for is no longer counted when it is dropped"]
pub struct Permit {
    share: Arc<Share>,
    bytes: usize,
}

/// The budget has no room; what was asked for can be asked again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node holds too much for its clients already")]
pub struct Exhausted;

impl Budget {
    /// A budget of which nothing is held.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    /// What one more client may hold.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(self), held: AtomicUsize::new(0) })
    }

    /// How many bytes may be held.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How often there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Holds bytes if there is room.
    ///
    /// # Errors
    /// [`Exhausted`], which is counted.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Permit, Exhausted> {
        let permit = self.take_anyway(bytes);
        match self.is_within() {
            true => Ok(permit),
            false => Err(self.refuse()),
        }
    }

    /// Holds bytes, room or not: for what is there already. While it is too much, nobody gets more.
    pub fn take_anyway(self: &Arc<Self>, bytes: usize) -> Permit {
        self.add(bytes);
        Permit { share: Arc::clone(self), bytes }
    }

    /// How many bytes of the budget this client could hold beside what it does.
    #[must_use]
    pub fn room(&self) -> usize {
        let left = self.budget.bytes_max.saturating_sub(self.budget.held());
        left.saturating_sub(self.held.load(Ordering::Relaxed)) / 2
    }

    /// How many bytes this client holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether this client holds no more than its share.
    ///
    /// Threads that take at the same time may see each other's bytes and both be refused, which does no harm.
    #[must_use]
    pub fn is_within(&self) -> bool {
        let left = self.budget.bytes_max.checked_sub(self.budget.held());
        left.is_some_and(|left| self.held.load(Ordering::Relaxed) <= left)
    }

    fn refuse(&self) -> Exhausted {
        self.budget.refused.fetch_add(1, Ordering::Relaxed);
        Exhausted
    }
}

impl Permit {
    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds more if there is room.
    ///
    /// # Errors
    /// [`Exhausted`]; it then stands for what it did before.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.share.add(bytes);
        if !self.share.is_within() {
            self.share.sub(bytes);
            return Err(self.share.refuse());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.share.sub(less);
        self.bytes -= less;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.share.sub(self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Takes as much as it gets, a byte at a time.
    fn fill(share: &Arc<Share>) -> Permit {
        let mut permit = share.take_anyway(0);
        while permit.grow(1).is_ok() {}
        permit
    }

    #[test]
    fn a_client_gets_half_and_the_next_half_of_the_rest() {
        let budget = Budget::new(1_000);
        let all: Vec<_> = (0..4).map(|_| fill(&budget.share())).collect();
        let bytes: Vec<_> = all.iter().map(Permit::bytes).collect();
        assert_eq!(bytes, [500, 250, 125, 62]);
        assert_eq!(budget.held(), 937);
    }

    #[test]
    fn those_that_want_everything_get_equal_parts_and_leave_one() {
        let budget = Budget::new(1_000);
        let mut all: Vec<_> = (0..9).map(|_| budget.share().take_anyway(0)).collect();
        while all.iter_mut().map(|permit| permit.grow(1)).filter(Result::is_ok).count() > 0 {}
        all.iter().for_each(|permit| assert!((99..=101).contains(&permit.bytes()), "{permit:?}"));
        let late = budget.share();
        assert!(late.take(50).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_refusals_change_nothing() {
        let budget = Budget::new(1_000);
        let share = budget.share();
        let mut first = share.take(400).unwrap();
        assert_eq!(share.take(101).unwrap_err(), Exhausted);
        assert_eq!(first.grow(101), Err(Exhausted));
        assert_eq!((budget.held(), budget.refused(), first.bytes()), (400, 2, 400));
        first.shrink_to(100);
        assert_eq!(share.room(), 400);
        assert!(share.take(share.room()).is_ok());
        drop(first);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_budget_and_nobody_gets_more() {
        let budget = Budget::new(1_000);
        let beyond = budget.share().take_anyway(1_001);
        assert!(budget.share().take(0).is_err());
        drop(beyond);
        assert!(budget.share().take(500).is_ok());
    }
}
