//! Finds the watches that a key concerns.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use bytes::Bytes;

use super::range::WatchRange;

/// Finds the watches that a key concerns: by one lookup for watches on one key, by one for each length of
/// prefix that is watched, and by looking through those on other intervals.
#[derive(Debug)]
pub(super) struct WatchIndex<I> {
    keys: HashMap<Bytes, Vec<I>>,
    prefixes: HashMap<Bytes, Vec<I>>,
    /// How many entries of `prefixes` have this length.
    prefix_lengths: BTreeMap<usize, usize>,
    intervals: HashMap<I, WatchRange>,
}

impl<I: Copy + Eq + Hash> WatchIndex<I> {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: BTreeMap::new(),
            intervals: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty() && self.intervals.is_empty()
    }

    /// Adds a watch that is not in the index.
    pub(super) fn insert(&mut self, range: &WatchRange, watch: I) {
        match range {
            WatchRange::Key(key) => self.keys.entry(key.clone()).or_default().push(watch),
            WatchRange::Prefix(prefix) => {
                let watches = self.prefixes.entry(prefix.clone()).or_default();
                if watches.is_empty() {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                watches.push(watch);
            }
            WatchRange::Interval { .. } => {
                self.intervals.insert(watch, range.clone());
            }
        }
    }

    /// Takes a watch out, if it is in.
    pub(super) fn remove(&mut self, range: &WatchRange, watch: I) {
        match range {
            WatchRange::Key(key) => {
                remove_from(&mut self.keys, key, watch);
            }
            WatchRange::Prefix(prefix) => {
                if remove_from(&mut self.prefixes, prefix, watch)
                    && let Some(count) = self.prefix_lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lengths.remove(&prefix.len());
                    }
                }
            }
            WatchRange::Interval { .. } => {
                self.intervals.remove(&watch);
            }
        }
    }

    /// Calls `found` for every watch that the key concerns, once.
    pub(super) fn find(&self, key: &[u8], mut found: impl FnMut(I)) {
        self.keys.get(key).into_iter().flatten().for_each(|watch| found(*watch));
        for length in self.prefix_lengths.range(..=key.len()).map(|(length, _)| *length) {
            self.prefixes.get(&key[..length]).into_iter().flatten().for_each(|watch| found(*watch));
        }
        for (watch, range) in &self.intervals {
            if range.contains(key) {
                found(*watch);
            }
        }
    }
}

/// Takes a watch out of a list and the list out when it is empty; true if it was the last.
fn remove_from<I: Eq>(lists: &mut HashMap<Bytes, Vec<I>>, key: &Bytes, watch: I) -> bool {
    let Some(list) = lists.get_mut(key) else { return false };
    if let Some(position) = list.iter().position(|known| *known == watch) {
        list.swap_remove(position);
    }
    list.is_empty() && lists.remove(key).is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Held against looking through all watches, while watches come and go.
    #[test]
    fn finds_exactly_the_watches_whose_range_contains_the_key() {
        let words: [&'static [u8]; 8] = [b"a", b"ab", b"abc", b"b", b"ba", b"c", b"\xff", b"a\xff"];
        let ends: [&'static [u8]; 8] = [b"", b"\0", b"b", b"ac", b"abd", b"c", b"d", b"\xff\xff"];
        let mut index = WatchIndex::new();
        let mut watches: BTreeMap<u32, WatchRange> = BTreeMap::new();
        let mut state = 1_u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        for watch in 0..3_000 {
            let known = watches.keys().copied().nth(below(40));
            if let Some(old) = known {
                let range = watches.remove(&old).unwrap();
                index.remove(&range, old);
            }
            let (start, end) = (words[below(words.len())], ends[below(ends.len())]);
            if let Some(range) = WatchRange::new(start.into(), end.into()) {
                index.insert(&range, watch);
                watches.insert(watch, range);
            }
            for key in words {
                let mut found = Vec::new();
                index.find(key, |watch| found.push(watch));
                let set: BTreeSet<_> = found.iter().copied().collect();
                assert_eq!(set.len(), found.len(), "a watch was found twice");
                let expected: BTreeSet<_> =
                    watches.iter().filter(|(_, range)| range.contains(key)).map(|(id, _)| *id).collect();
                assert_eq!(set, expected, "for {key:?}");
            }
        }
        for (watch, range) in watches {
            index.remove(&range, watch);
        }
        assert!(index.is_empty());
        assert!(index.prefix_lengths.is_empty());
    }
}
