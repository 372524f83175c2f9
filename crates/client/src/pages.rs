//! A range of keys that may be larger than one message: read page by page, all at one revision.

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::keys::{GetAnswer, GetOptions, KeyRange};

/// How much a page should hold, in bytes: far below what a message takes, and more than a round trip is worth.
const PAGE_BYTES: usize = 4 << 20;
/// How many keys the first page holds. With the largest values that etcd takes by default it fits a message.
const FIRST_PAGE_KEYS: u32 = 40;
/// However small they are.
const PAGE_KEYS_MAX: u32 = 1_024;
/// A page holds at most so many times the keys of the one before it: what comes next may be larger.
const GROWTH: u32 = 4;

/// The keys of a range, page by page, as they all were at one revision. Made by [`Client::pages`].
#[derive(Debug)]
pub struct Pages {
    client: Client,
    /// What is not read yet; `None` at the end.
    rest: Option<KeyRange>,
    /// The revision is the first page's after that one; the limit is of all pages.
    options: GetOptions,
    page_keys: u32,
    /// Keys in the whole range, known after the first page.
    count: Option<u64>,
}

impl Client {
    /// Reads a range however large it is, in several requests. They all read at the revision that the first was answered at, and so give what
    /// one large answer would.
    pub fn pages(&self, range: impl Into<KeyRange>, options: GetOptions) -> Pages {
        let client = self.clone();
        Pages { client, rest: Some(range.into()), options, page_keys: FIRST_PAGE_KEYS, count: None }
    }
}

impl Pages {
    /// The next page; `None` after the last. There is at least one, if only an empty one. Its count is that of the whole range, and `more` says that
    /// there are keys behind it, whether or not the limit lets another page have them.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`]; [`ClientError::Compacted`] if the revision of the first page was given up before
    /// the last was read; [`ClientError::TooLarge`] if a single key does not fit a message.
    pub async fn next(&mut self) -> Result<Option<GetAnswer>, ClientError> {
        let Some(range) = self.rest.clone() else { return Ok(None) };
        let mut answer = loop {
            let page = self.page_keys.min(self.options.limit.unwrap_or(u32::MAX));
            let limit = if self.options.count_only { None } else { Some(page) };
            match self.client.get(range.clone(), GetOptions { limit, ..self.options.clone() }).await {
                Err(ClientError::TooLarge { .. }) if page > 1 => self.page_keys = (page / 8).max(1),
                other => break other?,
            }
        };
        answer.count = *self.count.get_or_insert(answer.count);
        self.options.revision.get_or_insert(answer.revision);
        self.page_keys = next_page_keys(self.page_keys, &answer);
        let read = u32::try_from(answer.key_values.len()).unwrap_or(u32::MAX);
        let left = self.options.limit.map(|limit| limit.saturating_sub(read));
        self.options.limit = left;
        self.rest = match answer.key_values.last() {
            Some(last) if answer.more && left != Some(0) => Some(behind(&last.key, range)),
            Some(_) | None => None,
        };
        Ok(Some(answer))
    }
}

/// What of a range comes after a key.
fn behind(key: &[u8], range: KeyRange) -> KeyRange {
    let next = Bytes::from([key, &[0]].concat());
    let (_, end) = range.into_bounds();
    if end.as_ref() == [0] { KeyRange::From(next) } else { KeyRange::Between(next, end) }
}

/// How many keys the next page has, if they are as large as this one's.
fn next_page_keys(keys: u32, answer: &GetAnswer) -> u32 {
    let bytes: usize = answer.key_values.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    let average = (bytes / answer.key_values.len().max(1)).max(1);
    let fitting = u32::try_from(PAGE_BYTES / average).unwrap_or(u32::MAX);
    fitting.clamp(1, keys.saturating_mul(GROWTH).min(PAGE_KEYS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyValue;

    fn answer(keys: usize, value_bytes: usize) -> GetAnswer {
        let key_value = KeyValue { value: vec![0; value_bytes].into(), ..KeyValue::default() };
        GetAnswer { revision: 1, key_values: vec![key_value; keys], more: true, count: 1_000_000 }
    }

    #[test]
    fn a_page_goes_on_behind_the_last_key_of_the_one_before() {
        let between = |first: &'static [u8], end: &'static str| {
            KeyRange::Between(Bytes::from_static(first), Bytes::from_static(end.as_bytes()))
        };
        assert_eq!(behind(b"ab", KeyRange::Prefix("a".into())), between(b"ab\0", "b"));
        assert_eq!(behind(b"ab", between(b"a", "c")), between(b"ab\0", "c"));
        assert_eq!(behind(b"ab", KeyRange::From("a".into())), KeyRange::From(Bytes::from_static(b"ab\0")));
        assert_eq!(behind(b"ab", KeyRange::Prefix("".into())), KeyRange::From(Bytes::from_static(b"ab\0")));
    }

    #[test]
    fn pages_grow_while_keys_are_small_and_shrink_when_they_are_not() {
        assert_eq!(next_page_keys(40, &answer(40, 100)), 160);
        assert_eq!(next_page_keys(160, &answer(160, 100_000)), 41);
        assert_eq!(next_page_keys(1_000, &answer(1_000, 10)), PAGE_KEYS_MAX);
        assert_eq!(next_page_keys(8, &answer(1, PAGE_BYTES * 2)), 1);
        assert_eq!(next_page_keys(1, &answer(0, 0)), GROWTH);
    }
}
