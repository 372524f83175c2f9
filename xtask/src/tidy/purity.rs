//! The crates whose outputs depend on their inputs alone name nothing that could change that.

use super::source::SourceFile;

/// The crates, by where their sources lie.
const PURE: [&str; 2] = ["crates/protocol/src", "crates/state-machine/src"];

/// Clocks, threads, the outside world, randomness, and maps whose order differs from run to run.
const IMPURE: [&str; 10] = [
    "std::time",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "HashMap",
    "HashSet",
    "tokio::",
    "rand::",
];

pub(super) fn check(file: &SourceFile) -> Vec<String> {
    if !PURE.iter().any(|pure| file.path.starts_with(pure)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (line, text) in file.code_lines() {
        for name in IMPURE.iter().filter(|name| names(text, name)) {
            problems.push(file.problem(line, format_args!("`{name}` has no place in a deterministic crate")));
        }
    }
    problems
}

/// Whether `name` stands in `text` at the start of a word.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_names_are_found_in_pure_crates_only() {
        for name in IMPURE {
            let text = format!("// {name}x in a comment is fine\nuse a::{name}x;\n");
            let pure = SourceFile::for_test("crates/protocol/src/raft/log.rs", &text);
            assert_eq!(check(&pure).len(), 1, "{name}");
            assert!(check(&SourceFile::for_test("crates/node/src/log.rs", &text)).is_empty());
        }
    }

    #[test]
    fn a_name_inside_a_longer_word_is_another_name() {
        assert!(!names("use operand::x;", "rand::"));
        assert!(names("use rand::x;", "rand::"));
    }
}
