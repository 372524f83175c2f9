//! No files of a crate use each other in a ring.
//!
//! Files that form a ring are one file to whoever reads them: none of them can be understood without all others. What
//! two files share goes into a third below them. What a file wants of a neighbour it takes from the neighbour, and not
//! from the module above both that gives it on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::announced::{ANNOUNCED, Announced};
use super::imports::{Imports, imports_below};
use super::source::SourceFile;

/// The files of a ring.
type Ring<'files> = BTreeSet<&'files Path>;

pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    check_but(ANNOUNCED, files)
}

fn check_but(announced: &[Announced], files: &[SourceFile]) -> Vec<String> {
    let sources: BTreeSet<PathBuf> = files.iter().filter_map(|file| sources_of(&file.path)).collect();
    let mut found: BTreeMap<&Path, Vec<Ring<'_>>> = BTreeMap::new();
    let mut problems = Vec::new();
    for sources in &sources {
        let imports = imports_below(sources, files);
        let rings = rings(&imports);
        for ring in &rings {
            if !announced.iter().any(|announced| announced.is(sources, ring)) {
                problems.push(describe(sources, &imports, ring));
            }
        }
        found.insert(sources, rings);
    }
    for announced in announced {
        let rings = found.get(Path::new(announced.sources)).into_iter().flatten();
        if !rings.into_iter().any(|ring| announced.is(Path::new(announced.sources), ring)) {
            let Announced { sources, files, reason } = announced;
            problems.push(format!(
                "{sources}: the ring of {} ({reason}) is no more: take it off the list in xtask/src/tidy/announced.rs",
                files.join(", ")
            ));
        }
    }
    problems
}

impl Announced {
    fn is(&self, sources: &Path, ring: &Ring<'_>) -> bool {
        Path::new(self.sources) == sources && self.files.iter().map(Path::new).collect::<Ring<'_>>() == *ring
    }
}

/// The directory of a crate's sources, for a Rust file that lies in one.
fn sources_of(path: &Path) -> Option<PathBuf> {
    let sources = path.ancestors().find(|directory| directory.ends_with("src"))?;
    path.extension().is_some_and(|extension| extension == "rs").then(|| sources.to_owned())
}

/// The largest sets of files each of which uses, in however many steps, all others of its set.
fn rings<'files>(imports: &Imports<'files>) -> Vec<Ring<'files>> {
    let reached: BTreeMap<&Path, Ring<'_>> =
        imports.keys().map(|file| (*file, reached(imports, file))).collect();
    let ring_of = |file: &Path| -> Ring<'files> {
        reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect()
    };
    let rings: BTreeSet<Ring<'_>> = imports.keys().map(|file| ring_of(file)).collect();
    rings.into_iter().filter(|ring| !ring.is_empty()).collect()
}

/// All that a file uses, in however many steps.
fn reached<'files>(imports: &Imports<'files>, file: &Path) -> Ring<'files> {
    let mut reached = Ring::new();
    let mut unseen: Vec<&Path> = imports[file].iter().copied().collect();
    while let Some(next) = unseen.pop() {
        if reached.insert(next) {
            unseen.extend(&imports[next]);
        }
    }
    reached
}

/// Who uses whom in a ring: enough to choose what to break.
fn describe(sources: &Path, imports: &Imports<'_>, ring: &Ring<'_>) -> String {
    let mut problem = format!("{}: {} files use each other in a ring:", sources.display(), ring.len());
    for file in ring {
        let used = imports[file].intersection(ring).map(|used| used.display().to_string());
        let used = used.collect::<Vec<_>>().join(", ");
        problem.push_str(&format!("\n    {} uses {used}", file.display()));
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
        let files = texts.iter().map(|(path, text)| SourceFile::for_test(&format!("x/src/{path}"), text));
        files.collect()
    }

    #[test]
    fn a_ring_is_a_problem() {
        let pair = files(&[
            ("lib.rs", "mod a;\nmod b;\npub use a::A;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use super::a::A;\nuse super::c;\n"),
            ("c.rs", ""),
        ]);
        let problem = "x/src: 2 files use each other in a ring:\n    a.rs uses b.rs\n    b.rs uses a.rs";
        assert_eq!(check_but(&[], &pair), [problem]);

        let through_the_root = files(&[("lib.rs", "pub use a::A;\n"), ("a.rs", "use crate::X;\n")]);
        assert_eq!(check_but(&[], &through_the_root).len(), 1);
    }

    #[test]
    fn a_long_ring_is_one_and_two_rings_are_two() {
        let long = files(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::c;"), ("c.rs", "use crate::a;")]);
        assert_eq!(rings(&imports_below(Path::new("x/src"), &long)).len(), 1);
        let two = files(&[
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::a;\nuse crate::c;"),
            ("c.rs", "use crate::d;"),
            ("d.rs", "use crate::c;"),
        ]);
        assert_eq!(rings(&imports_below(Path::new("x/src"), &two)).len(), 2);
    }

    #[test]
    fn files_that_use_each_other_one_way_are_no_problem() {
        let fan = files(&[
            ("lib.rs", "mod a;\npub use a::A;\n"),
            ("a.rs", "mod b;\nuse crate::c::C;\n"),
            ("a/b.rs", "use super::A;\nuse crate::c::C;\n"),
            ("c.rs", "#[cfg(test)]\nmod tests {\n    use crate::A;\n}\n"),
        ]);
        assert_eq!(check_but(&[], &fan), [""; 0]);
    }

    #[test]
    fn an_announced_ring_is_allowed_as_long_as_it_is_there() {
        let announced = [Announced { sources: "x/src", files: &["a.rs", "b.rs"], reason: "a reason" }];
        let ring = files(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::a;"), ("c.rs", "")]);
        assert_eq!(check_but(&announced, &ring), [""; 0]);
        let broken = files(&[("a.rs", "use crate::b;"), ("b.rs", ""), ("c.rs", "")]);
        assert_eq!(check_but(&announced, &broken).len(), 1);
        let longer =
            files(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::c;"), ("c.rs", "use crate::a;")]);
        assert_eq!(check_but(&announced, &longer).len(), 2);
    }
}
