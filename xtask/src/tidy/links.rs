//! Links in Markdown files lead to files that exist.

use std::path::Path;

use super::source::SourceFile;

pub(super) fn check(root: &Path, file: &SourceFile) -> Vec<String> {
    if file.is_rust() {
        return Vec::new();
    }
    let directory = root.join(&file.path);
    let directory = directory.parent().expect("a file lies in a directory");
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        for target in targets(text) {
            if !directory.join(target).exists() {
                problems.push(
                    file.problem(line, format_args!("the link leads to `{target}`, which does not exist")),
                );
            }
        }
    }
    problems
}

/// The files that a line of Markdown links to: `](file)` or `](file#part)`, but not other sites.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        let file = target.split('#').next().unwrap_or(target);
        (!file.is_empty() && !file.contains("://") && !file.starts_with("mailto:")).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_this_repository_are_looked_for() {
        let line = "[a](docs/A.md#top) [b](https://example.org/x) [c](#below) [d](../d.rs) text](";
        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/A.md", "../d.rs"]);
    }

    #[test]
    fn a_link_to_nowhere_is_a_problem() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = SourceFile::for_test("src/x.md", "[a](main.rs) [b](../Cargo.toml)\n[c](missing.rs)\n");
        let problems = check(root, &file);
        assert_eq!(problems, ["src/x.md:2: the link leads to `missing.rs`, which does not exist"]);
    }
}
