//! Keys: how they are typed, and how they are shown with their values.

use bytes::Bytes;
use clap::Args;
use ruvector_client::{GetAnswer, KeyRange, KeyValue};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::output::{Content, Rows, Tone};
use crate::text::{base64, from_base64, from_hex, hex, printable_line, unambiguous};

/// How keys are written, where a verb takes and shows them.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct KeyForm {
    /// Keys are given and shown in hexadecimal, as in 6b6579ff.
    #[arg(long, conflicts_with = "base64")]
    hex: bool,

    /// Keys are given and shown in base64.
    #[arg(long)]
    base64: bool,
}

impl KeyForm {
    /// The key that a text stands for.
    ///
    /// # Errors
    /// If it is not of this form.
    pub(crate) fn read(self, text: &str) -> Result<Bytes> {
        let (bytes, form) = match self {
            Self { hex: true, .. } => (from_hex(text), "hexadecimal"),
            Self { base64: true, .. } => (from_base64(text), "base64"),
            Self { hex: false, base64: false } => (Some(text.as_bytes().to_vec()), "text"),
        };
        bytes.map(Bytes::from).ok_or_else(|| Failure::usage(format!("the key `{text}` is no {form}")))
    }

    /// The same, for a verb that is about one key.
    ///
    /// # Errors
    /// If it is not of this form, or empty.
    pub(crate) fn read_one(self, text: &str) -> Result<Bytes> {
        let key = self.read(text)?;
        if key.is_empty() { Err(Failure::usage("a key must not be empty")) } else { Ok(key) }
    }

    /// A key as it is read again. As text two keys never look alike, but a backslash is doubled and other bytes than UTF-8 are `\xNN`.
    pub(crate) fn show(self, key: &[u8]) -> String {
        match self {
            Self { hex: true, .. } => hex(key),
            Self { base64: true, .. } => base64(key),
            Self { hex: false, base64: false } => unambiguous(key),
        }
    }

    /// Whether keys are shown by other letters than their own.
    pub(crate) fn is_encoded(self) -> bool {
        self.hex || self.base64
    }
}

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

    #[command(flatten)]
    pub(crate) form: KeyForm,
}

impl Keys {
    /// # Errors
    /// If the range is empty or backwards, or there is no key, or it is not of the form it should have.
    pub(crate) fn into_range(self) -> Result<KeyRange> {
        let form = self.form;
        let key = form.read(&self.key)?;
        match self.range.map(|end| form.read(&end)).transpose()? {
            Some(end) if end <= key => Err(Failure::usage(format!(
                "the range is empty: its end `{}` does not come after `{}`",
                form.show(&end),
                form.show(&key)
            ))),
            Some(end) => Ok(KeyRange::Between(key, end)),
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
pub(crate) fn key_value_table(key_values: &[KeyValue], form: KeyForm) -> Rows {
    let leased = key_values.iter().any(|key_value| key_value.lease.is_some());
    let headers = ["KEY", "VALUE", "REVISION", "VERSION", "LEASE"];
    let mut rows = Rows::new(headers.into_iter().take(if leased { 5 } else { 4 }));
    for key_value in key_values {
        let lease = leased.then(|| key_value.lease.map_or_else(|| "-".to_owned(), |lease| lease.to_string()));
        let cells = [
            Content::toned(form.show(&key_value.key), Tone::Strong),
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
        let form = KeyForm::default();
        Keys { key: key.to_owned(), prefix, range: range.map(str::to_owned), form }.into_range()
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
    fn a_key_is_read_as_it_is_shown() {
        let bytes = b"k\xff\\";
        for form in [KeyForm { hex: true, base64: false }, KeyForm { hex: false, base64: true }] {
            assert_eq!(form.read(&form.show(bytes)).unwrap().as_ref(), bytes);
            assert!(matches!(form.read("no such form"), Err(Failure::Usage(_))), "{form:?}");
        }
        assert_eq!(KeyForm::default().show(bytes), "k\\xff\\\\");
    }

    #[test]
    fn a_range_has_both_its_ends_in_the_form() {
        let form = KeyForm { hex: true, base64: false };
        let range =
            Keys { key: "00".to_owned(), prefix: false, range: Some("ff".to_owned()), form }.into_range();
        let expected = KeyRange::Between(Bytes::from_static(b"\0"), Bytes::from_static(b"\xff"));
        assert_eq!(range.unwrap(), expected);
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
