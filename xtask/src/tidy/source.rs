//! The files that are checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of the repository, with its path relative to the root.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// All Rust and Markdown files, but not what is built or hidden.
pub(super) fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
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

    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Lines from 1, without those that are only a comment.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// A problem at a line, as editors understand it.
    pub(super) fn problem(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }

    #[cfg(test)]
    pub(super) fn for_test(path: &str, text: &str) -> Self {
        Self { path: PathBuf::from(path), text: text.to_owned() }
    }
}
