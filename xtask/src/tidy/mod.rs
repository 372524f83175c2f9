//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

mod dependencies;
mod files;
mod links;
mod purity;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A file of the repository, with its path relative to the root.
#[derive(Debug)]
pub(crate) struct SourceFile {
    path: PathBuf,
    text: String,
}

/// Checks everything; prints each problem in a line of its own.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = read_files(root)?;
    let mut problems = Vec::new();
    problems.extend(files.iter().flat_map(files::check));
    problems.extend(files.iter().flat_map(purity::check));
    problems.extend(files.iter().flat_map(|file| links::check(root, file)));
    problems.extend(dependencies::check(root)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    ensure!(problems.is_empty(), "tidy found {} problem(s) in {} files", problems.len(), files.len());
    println!("tidy: {} files, no problems", files.len());
    Ok(())
}

/// All Rust and Markdown files, but not what is built or hidden.
fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let listing =
            std::fs::read_dir(&directory).with_context(|| format!("can't list {}", directory.display()))?;
        for entry in listing {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                if name != "target" {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
                files.push(SourceFile::read(root, &path)?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

impl SourceFile {
    fn read(root: &Path, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Ok(Self { path: path.strip_prefix(root)?.to_owned(), text })
    }

    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Lines from 1, without those that are only a comment.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// A problem at a line, as editors understand it.
    fn problem(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }

    #[cfg(test)]
    fn for_test(path: &str, text: &str) -> Self {
        Self { path: PathBuf::from(path), text: text.to_owned() }
    }
}
