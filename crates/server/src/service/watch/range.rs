//! Which keys a watch is on.

use bytes::Bytes;

/// Which keys a watch is on. A prefix is told from other intervals because it can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchRange {
    /// One key.
    Key(Bytes),
    /// All keys that begin so.
    Prefix(Bytes),
    /// From a key up to but without an end, if there is one.
    Interval { start: Bytes, end: Option<Bytes> },
}

impl WatchRange {
    /// The range of a request, in which no key stands for the first of all keys, and an end of one zero byte
    /// for no end. `None` if no key can be in it.
    pub(crate) fn new(key: Bytes, range_end: Bytes) -> Option<Self> {
        let start = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        match range_end.as_ref() {
            [] => Some(Self::Key(start)),
            [0] => Some(Self::Interval { start, end: None }),
            end if end <= start.as_ref() => None,
            end if is_prefix_end(&start, end) => Some(Self::Prefix(start)),
            _ => Some(Self::Interval { start, end: Some(range_end) }),
        }
    }

    /// Whether the key is in the range.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(wanted) => key == wanted,
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Interval { start, end } => {
                key >= start.as_ref() && end.as_ref().is_none_or(|end| key < end.as_ref())
            }
        }
    }
}

/// Whether `end` is the smallest key above all that begin with `start`: its last byte that can be raised by one,
/// and nothing behind it.
fn is_prefix_end(start: &[u8], end: &[u8]) -> bool {
    let raised = start.iter().rposition(|byte| *byte != u8::MAX);
    raised.is_some_and(|at| end.len() == at + 1 && end[..at] == start[..at] && end[at] == start[at] + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn range(key: &'static [u8], range_end: &'static [u8]) -> Option<WatchRange> {
        WatchRange::new(key.into(), range_end.into())
    }

    #[test]
    fn the_conventions_of_the_wire_are_understood() {
        assert_eq!(range(b"a", b""), Some(WatchRange::Key("a".into())));
        assert_eq!(range(b"", b"\0"), Some(WatchRange::Interval { start: "\0".into(), end: None }));
        assert_eq!(range(b"a", b"b"), Some(WatchRange::Prefix("a".into())));
        assert_eq!(
            range(b"a", b"c"),
            Some(WatchRange::Interval { start: "a".into(), end: Some("c".into()) })
        );
        assert_eq!(range(b"b", b"a"), None);
        assert_eq!(range(b"a", b"a"), None);
    }

    /// Telling prefixes apart must not change what is contained.
    #[test]
    fn every_form_contains_what_the_plain_interval_contains() {
        let bytes: [&'static [u8]; 10] =
            [b"a", b"a\xff", b"a\xff\xff", b"b", b"ab", b"ac", b"\xff", b"\xff\xff", b"a\xfe", b"b\0"];
        for start in bytes {
            for end in bytes.into_iter().filter(|end| *end > start) {
                let range = range(start, end).unwrap();
                for key in bytes {
                    assert_eq!(range.contains(key), key >= start && key < end, "{key:?} in {range:?}");
                }
            }
        }
    }
}
