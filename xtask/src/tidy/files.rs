//! What no Rust file may hold, and how long one may be.

use super::source::SourceFile;

/// Longer files hold more than one concern.
const LINES_MAX: usize = 700;

/// What stands for unfinished work or a skipped test. Spelled in two parts, so that this file may pass.
const FORBIDDEN: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
];

pub(super) fn check(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        for word in FORBIDDEN.iter().filter(|word| text.contains(*word)) {
            problems.push(file.problem(line, format_args!("`{word}` is not allowed")));
        }
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let what = format_args!("{lines} lines, at most {LINES_MAX} are allowed: split it by concern");
        problems.push(file.problem(lines, what));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_is_found_where_it_is() {
        for word in FORBIDDEN {
            let file = SourceFile::for_test("a.rs", &format!("fn f() {{}}\n    {word}) // x\n"));
            assert_eq!(check(&file), [format!("a.rs:2: `{word}` is not allowed")]);
        }
    }

    #[test]
    fn a_file_may_be_full_but_not_longer() {
        assert!(check(&SourceFile::for_test("a.rs", &"x\n".repeat(LINES_MAX))).is_empty());
        assert_eq!(check(&SourceFile::for_test("a.rs", &"x\n".repeat(LINES_MAX + 1))).len(), 1);
        assert!(check(&SourceFile::for_test("a.md", &"x\n".repeat(LINES_MAX + 1))).is_empty());
    }
}
