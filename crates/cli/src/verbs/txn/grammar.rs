//! The little language of `txn`: conditions and operations as people write them.

use bytes::Bytes;
use ruvector_client::{
    Comparison, DeleteOptions, GetOptions, KeyRange, Operation, PutOptions, Relation, Target,
};

use crate::text::printable_line;

type Parsed<T> = Result<T, String>;

/// Reads `value(KEY) = "text"`, `version(KEY) > 0`, `exists(KEY)` and their like.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub(super) fn condition(text: &str) -> Parsed<Comparison> {
    let wrong = |reason: &str| format!("the condition `{text}` {reason}");
    let (property, rest) = text
        .trim()
        .split_once('(')
        .ok_or_else(|| wrong("has no KEY in parentheses, as in `value(KEY) = \"text\"`"))?;
    let (key, rest) = key_in_parentheses(rest).map_err(|reason| wrong(&reason))?;
    let rest = rest.trim();
    let of_key = |target, relation| Comparison { key: KeyRange::One(key.clone()), target, relation };

    let property = property.trim();
    match property {
        "exists" | "missing" if !rest.is_empty() => {
            return Err(wrong("compares nothing, so nothing may follow it"));
        }
        "exists" => return Ok(of_key(Target::CreateRevision(0), Relation::NotEqual)),
        "missing" => return Ok(of_key(Target::CreateRevision(0), Relation::Equal)),
        _ => {}
    }
    let (relation, right) = relation(rest).ok_or_else(|| wrong("needs =, !=, < or > after the key"))?;
    let number = || {
        right
            .parse::<i64>()
            .map_err(|_| wrong(&format!("compares {property} with `{right}`, which is no whole number")))
    };
    let target = match property {
        "value" => Target::Value(one_word(right).map_err(|reason| wrong(&reason))?),
        "version" | "ver" => Target::Version(number()?),
        "create" | "c" => Target::CreateRevision(number()?),
        "mod" | "m" => Target::ModRevision(number()?),
        "lease" => Target::Lease(number()?),
        _ => {
            return Err(wrong(&format!(
                "asks for `{property}`; there are value, version, create, mod, lease, exists and missing"
            )));
        }
    };
    Ok(of_key(target, relation))
}

/// Reads `put KEY VALUE`, `get KEY` and `del KEY`, the last two with `--prefix` or `--range END`.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub(super) fn operation(text: &str) -> Parsed<Operation> {
    let wrong = |reason: &str| format!("the operation `{text}` {reason}");
    let words = shlex::split(text).ok_or_else(|| wrong("has a quote that does not end"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["put", "", _] => Err(wrong("has an empty key")),
        ["put", key, value] => Ok(Operation::Put(owned(key), owned(value), PutOptions::default())),
        ["put", ..] => Err(wrong("must be `put KEY VALUE`; quote a value with spaces")),
        ["get", rest @ ..] => {
            Ok(Operation::Get(range(rest).map_err(|reason| wrong(&reason))?, GetOptions::default()))
        }
        ["del", rest @ ..] => {
            Ok(Operation::Delete(range(rest).map_err(|reason| wrong(&reason))?, DeleteOptions::default()))
        }
        [] => Err("an operation is empty: write `put KEY VALUE`, `get KEY` or `del KEY`".to_owned()),
        [other, ..] => Err(wrong(&format!("begins with `{other}`; there are put, get and del"))),
    }
}

/// An operation in the words that [`operation`] reads.
pub(super) fn describe(operation: &Operation) -> String {
    let range = |range: &KeyRange| match range {
        KeyRange::One(key) => printable_line(key),
        KeyRange::Prefix(prefix) => format!("--prefix {}", printable_line(prefix)),
        KeyRange::Between(first, end) => format!("{} --range {}", printable_line(first), printable_line(end)),
        KeyRange::From(first) => format!("{} and after", printable_line(first)),
    };
    match operation {
        Operation::Put(key, value, _) => format!("put {} {}", printable_line(key), printable_line(value)),
        Operation::Get(keys, _) => format!("get {}", range(keys)),
        Operation::Delete(keys, _) => format!("del {}", range(keys)),
    }
}

/// Reads what follows the opening parenthesis: a key, perhaps in quotes, and the closing one.
fn key_in_parentheses(text: &str) -> Parsed<(Bytes, &str)> {
    let text = text.trim_start();
    let closing = match text.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        // Inside of quotes a parenthesis is part of the key.
        Some(quote) => {
            let end = text[1..].find(quote).ok_or("has a quote that does not end")? + 2;
            let closing = text[end..].find(')').ok_or("has a parenthesis that does not end")?;
            end + closing
        }
        None => text.find(')').ok_or("has a parenthesis that does not end")?,
    };
    let key = one_word(text[..closing].trim())?;
    if key.is_empty() {
        return Err("has an empty key".to_owned());
    }
    Ok((key, &text[closing + 1..]))
}

/// Splits a relation off the beginning.
fn relation(text: &str) -> Option<(Relation, &str)> {
    let relations = [
        ("!=", Relation::NotEqual),
        ("==", Relation::Equal),
        ("=", Relation::Equal),
        ("<", Relation::Less),
        (">", Relation::Greater),
    ];
    let (relation, rest) =
        relations.iter().find_map(|(sign, relation)| Some((*relation, text.strip_prefix(sign)?)))?;
    // There is no ≤ and no ≥; taking `<= 3` for `< "= 3"` would be worse than refusing.
    (!rest.starts_with('=')).then_some((relation, rest.trim()))
}

/// A word, or several in quotes.
fn one_word(text: &str) -> Parsed<Bytes> {
    match shlex::split(text).as_deref() {
        None => Err("has a quote that does not end".to_owned()),
        Some([]) => Err("lacks a word; write \"\" for an empty one".to_owned()),
        Some([word]) => Ok(owned(word)),
        Some(_) => Err(format!("has several words in `{text}`: put them in quotes")),
    }
}

fn range(words: &[&str]) -> Parsed<KeyRange> {
    match words {
        ["--prefix", prefix] | [prefix, "--prefix"] => Ok(KeyRange::Prefix(owned(prefix))),
        [first, "--range", end] | ["--range", end, first] if first < end => {
            Ok(KeyRange::Between(owned(first), owned(end)))
        }
        [_, "--range", _] | ["--range", _, _] => Err("has a range that ends before it begins".to_owned()),
        [key] if key.starts_with("--") => Err(format!("lacks a key beside `{key}`")),
        [""] => Err("has an empty key".to_owned()),
        [key] => Ok(KeyRange::One(owned(key))),
        _ => Err("must have one KEY, and at most --prefix or --range END".to_owned()),
    }
}

fn owned(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn comparison(key: &str, target: Target, relation: Relation) -> Comparison {
        Comparison { key: KeyRange::One(owned(key)), target, relation }
    }

    #[test]
    fn conditions_are_read() {
        let cases = [
            ("value(a) = \"x\"", comparison("a", Target::Value("x".into()), Relation::Equal)),
            ("value(a)=x", comparison("a", Target::Value("x".into()), Relation::Equal)),
            (
                "  value( a ) != 'two words' ",
                comparison("a", Target::Value("two words".into()), Relation::NotEqual),
            ),
            ("value(a) = \"\"", comparison("a", Target::Value("".into()), Relation::Equal)),
            ("value(\"a (b)\") < c", comparison("a (b)", Target::Value("c".into()), Relation::Less)),
            ("value(a) = \"= b\"", comparison("a", Target::Value("= b".into()), Relation::Equal)),
            ("version(a) > 3", comparison("a", Target::Version(3), Relation::Greater)),
            ("ver(a) == 3", comparison("a", Target::Version(3), Relation::Equal)),
            ("create(a) = 0", comparison("a", Target::CreateRevision(0), Relation::Equal)),
            ("mod(a) < 9", comparison("a", Target::ModRevision(9), Relation::Less)),
            ("lease(a) = 0", comparison("a", Target::Lease(0), Relation::Equal)),
            ("exists(a)", comparison("a", Target::CreateRevision(0), Relation::NotEqual)),
            ("missing(a)", comparison("a", Target::CreateRevision(0), Relation::Equal)),
        ];
        for (text, expected) in cases {
            assert_eq!(condition(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "KEY in parentheses"),
            ("a = b", "KEY in parentheses"),
            ("value(a = b", "parenthesis that does not end"),
            ("value(\"a) = b", "quote that does not end"),
            ("value() = b", "lacks a word"),
            ("value(\"\") = b", "empty key"),
            ("value(a b) = c", "several words"),
            ("value(a) b", "needs =, !=, < or >"),
            ("version(a) <= 3", "needs =, !=, < or >"),
            ("version(a) = x", "no whole number"),
            ("value(a) = b c", "several words"),
            ("value(a) = \"b", "quote that does not end"),
            ("age(a) = 3", "asks for `age`"),
            ("exists(a) = 1", "nothing may follow"),
        ] {
            let error = condition(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn operations_are_read() {
        let get = |range| Operation::Get(range, GetOptions::default());
        let delete = |range| Operation::Delete(range, DeleteOptions::default());
        let cases = [
            ("put a 1", Operation::Put("a".into(), "1".into(), PutOptions::default())),
            ("put 'a b' \"c d\"", Operation::Put("a b".into(), "c d".into(), PutOptions::default())),
            ("put a ''", Operation::Put("a".into(), "".into(), PutOptions::default())),
            ("put a --prefix", Operation::Put("a".into(), "--prefix".into(), PutOptions::default())),
            ("get a", get(KeyRange::One("a".into()))),
            ("get --prefix a", get(KeyRange::Prefix("a".into()))),
            ("get a --prefix", get(KeyRange::Prefix("a".into()))),
            ("del a --range c", delete(KeyRange::Between("a".into(), "c".into()))),
            ("del --prefix ''", delete(KeyRange::Prefix("".into()))),
        ];
        for (text, expected) in cases {
            assert_eq!(operation(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_operation_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("put a", "put KEY VALUE"),
            ("put a b c", "put KEY VALUE"),
            ("put '' b", "empty key"),
            ("put a 'b", "quote that does not end"),
            ("get", "must have one KEY"),
            ("get a b", "must have one KEY"),
            ("get ''", "empty key"),
            ("get --prefix", "lacks a key"),
            ("del b --range a", "ends before it begins"),
            ("move a b", "begins with `move`"),
        ] {
            let error = operation(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_description_reads_back() {
        for text in ["put a 1", "get a", "get --prefix a", "del a --range c"] {
            assert_eq!(describe(&operation(text).unwrap()), text);
        }
    }
}
