//! How wide a page may be.

use super::source::SourceFile;

/// The longest line of a page, in characters. What is fenced (commands, dumps, drawings) is as wide as it is.
const COLUMNS_MAX: usize = 120;

pub(super) fn check(file: &SourceFile) -> Vec<String> {
    if file.is_rust() {
        return Vec::new();
    }
    let mut is_fenced = false;
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        let is_fence = text.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        let columns = text.chars().count();
        if columns > COLUMNS_MAX && !is_fenced && !is_fence {
            let what =
                format_args!("{columns} characters, a line of a page has {COLUMNS_MAX} at most: wrap it");
            problems.push(file.problem(line, what));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_be_full_but_not_longer_unless_it_is_fenced() {
        let page = |text: &str| check(&SourceFile::for_test("a.md", text));
        let (full, longer) = ("ä".repeat(COLUMNS_MAX), "ä".repeat(COLUMNS_MAX + 1));
        assert!(page(&full).is_empty());
        assert!(page(&format!("```\n{longer}\n```\n")).is_empty());
        let problems = page(&format!("```\n```\n{longer}\n"));
        assert_eq!(problems, ["a.md:3: 121 characters, a line of a page has 120 at most: wrap it"]);
        assert!(check(&SourceFile::for_test("a.rs", &longer)).is_empty(), "rustfmt sees to those");
    }
}
