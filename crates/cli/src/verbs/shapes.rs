//! What several verbs print alike: keys with their values, as JSON and as tables.

use bytes::Bytes;
use clap::Args;
use ruvector_client::{GetAnswer, KeyRange, KeyValue};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::output::{Content, Rows, Tone};
use crate::text::{base64, printable_line};

/// Which keys a verb is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Keys {
    /// The key; with --prefix its beginning.
    pub(crate) key: String,

    /// Every key that begins with KEY; with "" every key there is.
    #[arg(long, conflicts_with = "range")]
    pub(crate) prefix: bool,

    /// Every key from KEY up to, and without, END.
    #[arg(long, value_name = "END")]
    pub(crate) range: Option<String>,
}

impl Keys {
    /// # Errors
    /// If the range is empty or backwards, or there is no key.
    pub(crate) fn into_range(self) -> Result<KeyRange> {
        let key = Bytes::from(self.key);
        match self.range {
            Some(end) if end.as_bytes() <= key.as_ref() => Err(Failure::usage(format!(
                "the range is empty: its end `{end}` does not come after `{}`",
                printable_line(&key)
            ))),
            Some(end) => Ok(KeyRange::Between(key, end.into())),
            None if self.prefix => Ok(KeyRange::Prefix(key)),
            None if key.is_empty() => {
                Err(Failure::usage("a key must not be empty; for every key there is, add --prefix"))
            }
            None => Ok(KeyRange::One(key)),
        }
    }
}

/// A key with everything known of it. Bytes are given in base64, and as text where they are UTF-8.
pub(crate) fn key_value_json(key_value: &KeyValue) -> Value {
    json!({
        "key": text(&key_value.key),
        "key_base64": base64(&key_value.key),
        "value": text(&key_value.value),
        "value_base64": base64(&key_value.value),
        "create_revision": key_value.create_revision,
        "mod_revision": key_value.mod_revision,
        "version": key_value.version,
        "lease": key_value.lease.map(|lease| lease.to_string()),
    })
}

pub(crate) fn get_json(answer: &GetAnswer) -> Value {
    json!({
        "revision": answer.revision,
        "count": answer.count,
        "more": answer.more,
        "kvs": answer.key_values.iter().map(key_value_json).collect::<Vec<_>>(),
    })
}

/// A table of keys.
pub(crate) fn key_value_table(key_values: &[KeyValue]) -> Rows {
    let leased = key_values.iter().any(|key_value| key_value.lease.is_some());
    let headers = ["KEY", "VALUE", "REVISION", "VERSION", "LEASE"];
    let mut rows = Rows::new(headers.into_iter().take(if leased { 5 } else { 4 }));
    for key_value in key_values {
        let lease = leased.then(|| key_value.lease.map_or_else(|| "-".to_owned(), |lease| lease.to_string()));
        let cells = [
            Content::toned(printable_line(&key_value.key), Tone::Strong),
            printable_line(&key_value.value).into(),
            key_value.mod_revision.into(),
            key_value.version.into(),
        ];
        rows.add(cells.into_iter().chain(lease.map(Content::from)));
    }
    rows
}

/// `None` for bytes that are not UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(key: &str, prefix: bool, range: Option<&str>) -> Result<KeyRange> {
        Keys { key: key.to_owned(), prefix, range: range.map(str::to_owned) }.into_range()
    }

    #[test]
    fn keys_become_ranges() {
        assert_eq!(keys("a", false, None).unwrap(), KeyRange::One("a".into()));
        assert_eq!(keys("a", true, None).unwrap(), KeyRange::Prefix("a".into()));
        assert_eq!(keys("", true, None).unwrap(), KeyRange::Prefix("".into()));
        assert_eq!(keys("a", false, Some("b")).unwrap(), KeyRange::Between("a".into(), "b".into()));
    }

    #[test]
    fn ranges_that_hold_nothing_are_refused() {
        for (key, range) in [("", None), ("b", Some("a")), ("a", Some("a")), ("a", Some(""))] {
            assert!(matches!(keys(key, false, range), Err(Failure::Usage(_))), "{key} {range:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_only_in_base64() {
        let key_value =
            KeyValue { key: "k".into(), value: Bytes::from_static(b"\xff"), ..KeyValue::default() };
        let json = key_value_json(&key_value);
        assert_eq!(json["key"], "k");
        assert_eq!(json["key_base64"], "aw==");
        assert_eq!(json["value"], Value::Null);
        assert_eq!(json["value_base64"], "/w==");
    }
}
