//! Keys as the map of keys holds them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The longest key that is held in place: with it a [`Key`] is as large as one that refers to its bytes. More would
/// make every lookup of longer keys faster, and the map larger, of which every second slot is free.
const INLINE_BYTES_MAX: usize = 22;

/// A key that lies in the map's nodes if it is short, as most are.
///
/// Looking a key up compares it with several others. If each of them were a pointer, each comparison would
/// wait for memory, and copying a node would touch the reference count of each of its keys.
#[derive(Clone)]
pub(super) enum Key {
    /// The bytes, and how many of them count.
    Inline(u8, [u8; INLINE_BYTES_MAX]),
    /// Too long to be held in place. A copy: a part of a version would keep that version in memory.
    Shared(Arc<[u8]>),
}

impl Key {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        if key.len() > INLINE_BYTES_MAX {
            return Self::Shared(key.into());
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Inline(u8::try_from(key.len()).expect("checked above"), bytes)
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_large_as_its_larger_variant() {
        assert_eq!(size_of::<Key>(), 24);
    }

    #[test]
    fn orders_by_bytes_whatever_the_variant() {
        let around_the_limit = [0, 1, 7, INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 200];
        let keys: Vec<Vec<u8>> = around_the_limit
            .iter()
            .flat_map(|&length| [b'a', b'b', 0, 255].map(|byte| vec![byte; length]))
            .collect();
        for left in &keys {
            assert_eq!(Borrow::<[u8]>::borrow(&Key::from(&left[..])), &left[..]);
            for right in &keys {
                assert_eq!(
                    Key::from(&left[..]).cmp(&Key::from(&right[..])),
                    left.cmp(right),
                    "{left:?} {right:?}"
                );
            }
        }
    }
}
