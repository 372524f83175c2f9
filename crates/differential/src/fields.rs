//! Messages as lists of fields: what is compared, and what is shown.

mod answers;
mod requests;

use bytes::Bytes;
use ruvector_api::mvccpb;

use crate::symbols::Symbols;

/// How much of a long value is shown; the rest is told by its length and a sum.
const BYTES_SHOWN: usize = 40;

/// The fields of a message, each with the way to it, in the message's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

/// A message that can tell its fields. Each takes itself apart completely, so that none can be forgotten.
pub trait Tell {
    /// Adds every field.
    fn tell(&self, to: &mut Teller<'_>);
}

/// Collects fields.
#[derive(Debug)]
pub struct Teller<'symbols> {
    symbols: &'symbols Symbols,
    fields: Fields,
    way: String,
}

impl Fields {
    /// The fields of a message, with revisions and leases as they are shown.
    pub fn of(message: &dyn Tell, symbols: &Symbols) -> Self {
        let mut teller = Teller { symbols, fields: Self::default(), way: String::new() };
        message.tell(&mut teller);
        teller.fields
    }

    /// What stands at the end of a way.
    #[must_use]
    pub fn get(&self, way: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == way).map(|(_, value)| value.as_str())
    }

    /// Adds the fields of a part.
    pub fn add(&mut self, way: &str, part: Self) {
        self.0.extend(part.0.into_iter().map(|(own, value)| (format!("{way}.{own}"), value)));
    }

    /// Everything that is not left out, in one line.
    #[must_use]
    pub fn to_line(&self) -> String {
        let told = self.0.iter().filter(|(_, value)| !is_default(value));
        told.map(|(way, value)| format!("{way}={value}")).collect::<Vec<_>>().join(" ")
    }
}

/// Whether a field says nothing: it has the value that it has when nobody sets it.
fn is_default(value: &str) -> bool {
    matches!(value, "0" | "false" | "\"\"" | "none")
}

impl Teller<'_> {
    pub(crate) fn put(&mut self, name: &str, value: impl Into<String>) {
        let way = self.way_to(name);
        self.fields.0.push((way, value.into()));
    }

    pub(crate) fn number(&mut self, name: &str, value: impl Into<i128>) {
        self.put(name, value.into().to_string());
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.put(name, value.to_string());
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.put(name, format!("{value:?}"));
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &Bytes) {
        self.put(name, shown(value));
    }

    pub(crate) fn revision(&mut self, name: &str, value: i64) {
        self.put(name, self.symbols.show_revision(value));
    }

    pub(crate) fn lease(&mut self, name: &str, value: i64) {
        self.put(name, self.symbols.show_lease(value));
    }

    /// A message in a message.
    pub(crate) fn within(&mut self, name: &str, message: &dyn Tell) {
        let length = self.way.len();
        self.way = self.way_to(name);
        message.tell(self);
        self.way.truncate(length);
    }

    /// A message that may not be there.
    pub(crate) fn perhaps<T: Tell>(&mut self, name: &str, message: Option<&T>) {
        match message {
            Some(message) => self.within(name, message),
            None => self.put(name, "none"),
        }
    }

    /// Messages, with their number so that no end is missed.
    pub(crate) fn list<T: Tell>(&mut self, name: &str, messages: &[T]) {
        self.put(&format!("{name}.length"), messages.len().to_string());
        for (at, message) in messages.iter().enumerate() {
            self.within(&format!("{name}[{at}]"), message);
        }
    }

    fn way_to(&self, name: &str) -> String {
        if self.way.is_empty() { name.to_owned() } else { format!("{}.{name}", self.way) }
    }
}

fn shown(value: &Bytes) -> String {
    let text = |bytes: &[u8]| format!("\"{}\"", bytes.escape_ascii());
    if value.len() <= BYTES_SHOWN {
        return text(value);
    }
    let sum = value.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{}… ({} bytes, sum {sum:x})", text(&value[..BYTES_SHOWN]), value.len())
}

impl Tell for mvccpb::KeyValue {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { key, create_revision, mod_revision, version, value, lease } = self;
        to.bytes("key", key);
        to.revision("create_revision", *create_revision);
        to.revision("mod_revision", *mod_revision);
        to.number("version", *version);
        to.bytes("value", value);
        to.lease("lease", *lease);
    }
}

impl Tell for mvccpb::Event {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { r#type, kv, prev_kv } = self;
        to.number("type", *r#type);
        to.perhaps("kv", kv.as_ref());
        to.perhaps("prev_kv", prev_kv.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_way_and_a_missing_message_is_told() {
        let kv = mvccpb::KeyValue { key: "a".into(), mod_revision: 102, lease: 7, ..Default::default() };
        let event = mvccpb::Event { r#type: 0, kv: Some(kv), prev_kv: None };
        let symbols = Symbols { base: 100, now: 102, compacted: 100, chosen: vec![7] };
        let fields = Fields::of(&event, &symbols);
        assert_eq!(fields.get("kv.key"), Some("\"a\""));
        assert_eq!(fields.get("kv.mod_revision"), Some("base+2"));
        assert_eq!(fields.get("kv.lease"), Some("chosen-0"));
        assert_eq!(fields.get("prev_kv"), Some("none"));
        assert_eq!(fields.to_line(), "kv.key=\"a\" kv.mod_revision=base+2 kv.lease=chosen-0");
    }

    #[test]
    fn long_values_that_differ_at_their_end_are_shown_differently() {
        let (left, right) = (vec![b'x'; 100], [vec![b'x'; 99], vec![b'y']].concat());
        assert_ne!(shown(&left.into()), shown(&right.into()));
    }
}
