//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

mod announced;
mod dependencies;
mod files;
mod imports;
mod layers;
mod links;
mod prose;
mod purity;
mod rings;
mod source;

use std::path::Path;

use anyhow::{Result, ensure};
use source::read_files;

/// Checks everything; prints each problem in a line of its own.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = read_files(root)?;
    let mut problems = Vec::new();
    problems.extend(files.iter().flat_map(files::check));
    problems.extend(files.iter().flat_map(prose::check));
    problems.extend(files.iter().flat_map(purity::check));
    problems.extend(files.iter().flat_map(layers::check));
    problems.extend(files.iter().flat_map(|file| links::check(root, file)));
    problems.extend(rings::check(&files));
    problems.extend(dependencies::check(root)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    ensure!(problems.is_empty(), "tidy found {} problem(s) in {} files", problems.len(), files.len());
    println!("tidy: {} files, no problems", files.len());
    Ok(())
}
