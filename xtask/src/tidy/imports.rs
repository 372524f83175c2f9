//! Which files of a crate use which others.
//!
//! This reads no Rust as a compiler does. It finds paths that begin with `crate`, `self`, `super` or the name of a
//! module below, in `use` and elsewhere, and follows them from module to module as far as there are files. A name that a
//! module gives on by `pub use` counts as that module's: who wants what a neighbour defines asks the neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::SourceFile;

/// What each file of a crate uses of the others, by their paths below the crate's `src`.
pub(super) type Imports<'files> = BTreeMap<&'files Path, BTreeSet<&'files Path>>;

/// The names of a module and of those around it, the outermost first; none for a crate's root.
type Module<'files> = Vec<&'files str>;

/// What the files below `sources`, which are those of one crate, use of each other. Tests are left out.
pub(super) fn imports_below<'files>(sources: &Path, files: &'files [SourceFile]) -> Imports<'files> {
    let below = files.iter().filter_map(|file| Some((file.path.strip_prefix(sources).ok()?, &file.text)));
    let below: Vec<_> = below.filter(|(path, _)| !is_test(path)).collect();
    let mut modules = BTreeMap::new();
    for (path, _) in &below {
        // Where a library has a program beside it, the library comes first and is the root.
        modules.entry(module_of(path)).or_insert(*path);
    }
    let imports = below.iter().map(|(path, text)| {
        let own = module_of(path);
        let code = code_of(text);
        let names = paths_in(&code);
        let used = names.iter().filter_map(|name| resolve(&modules, &own, name));
        (*path, used.filter(|used| used != path).collect())
    });
    imports.collect()
}

fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| stem == "tests" || stem.ends_with("_tests"))
}

fn module_of(path: &Path) -> Module<'_> {
    let mut names: Module<'_> = path.iter().filter_map(|name| name.to_str()).collect();
    let file = names.pop().unwrap_or_default();
    let is_root = names.is_empty() && matches!(file, "lib.rs" | "main.rs");
    if !is_root && file != "mod.rs" {
        names.push(file.trim_end_matches(".rs"));
    }
    names
}

/// A file's text without comments and without the module of its tests.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let (mut is_for_tests, mut is_in_tests) = (false, false);
    for line in text.lines() {
        is_in_tests |= is_for_tests && line.contains("mod ") && line.ends_with('{');
        is_for_tests = line == "#[cfg(test)]" || is_for_tests && line.starts_with("#[");
        if !is_in_tests {
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
        }
        is_in_tests &= line != "}";
    }
    code
}

/// Words, `::` and all other signs, one by one.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if is_of_word(first) => rest.find(|next| !is_of_word(next)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// All paths of at least two names, and those of one name that are imported.
fn paths_in(code: &str) -> Vec<Vec<&str>> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = &tokens[..at];
        if tokens[at] == "use" && matches!(before.last(), None | Some(&(";" | "{" | "}" | "]" | ")" | "pub")))
        {
            at = gather_imported(&tokens, at + 1, &[], &mut paths);
            continue;
        }
        let (path, end) = path_at(&tokens, at);
        let is_member = before.last() == Some(&".");
        // As in `pub(in super::super)`, which says who may use something.
        let is_visibility = before.ends_with(&["(", "in"]);
        if path.len() > 1 && !is_member && !is_visibility {
            paths.push(path);
        }
        at = end.max(at + 1);
    }
    paths
}

/// Gathers the paths of a tree of imports that begins at a token; returns where it ends.
fn gather_imported<'code>(
    tokens: &[&'code str],
    mut at: usize,
    parent: &[&'code str],
    paths: &mut Vec<Vec<&'code str>>,
) -> usize {
    loop {
        let (own, end) = path_at(tokens, at);
        let path = [parent, &own].concat();
        at = end;
        if tokens.get(at) == Some(&"{") {
            at = gather_imported(tokens, at + 1, &path, paths);
        } else if path.len() > parent.len() {
            paths.push(path);
        }
        if tokens.get(at) == Some(&"as") {
            at += 2;
        }
        match tokens.get(at) {
            Some(&",") => at += 1,
            Some(&"}") => return at + 1,
            Some(_) | None => return at,
        }
    }
}

/// The path that begins at a token, empty if none does, and where it ends: behind it and the `::` that may follow.
fn path_at<'code>(tokens: &[&'code str], mut at: usize) -> (Vec<&'code str>, usize) {
    let mut path = Vec::new();
    while let Some(name) = tokens.get(at).filter(|token| **token == "*" || token.starts_with(is_of_word)) {
        path.push(*name);
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    (path, at)
}

/// The file that a path leads to from a module, if it stays in the crate.
fn resolve<'files>(
    modules: &BTreeMap<Module<'files>, &'files Path>,
    own: &Module<'files>,
    path: &[&str],
) -> Option<&'files Path> {
    let mut names = path.iter().copied().peekable();
    let mut module: Vec<&str> = own.clone();
    let mut is_of_crate = false;
    while let Some(name) = names.next_if(|name| matches!(*name, "crate" | "self" | "super")) {
        is_of_crate = true;
        match name {
            "crate" => module.clear(),
            "super" => drop(module.pop()),
            _ => {}
        }
    }
    for name in names {
        module.push(name);
        if !modules.contains_key(&module) {
            module.pop();
            break;
        }
        is_of_crate = true;
    }
    if is_of_crate { modules.get(&module).copied() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_by(user: &str, text: &str) -> Vec<String> {
        let files = ["lib.rs", "a.rs", "a/b.rs", "a/b/c.rs", "d/mod.rs", "d/e.rs"];
        let text_of = |path: &str| if path == user { text } else { "" };
        let files = files.map(|path| SourceFile::for_test(&format!("x/src/{path}"), text_of(path)));
        let imports = imports_below(Path::new("x/src"), &files);
        imports[Path::new(user)].iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn imports_lead_to_the_file_that_is_named_last() {
        assert_eq!(used_by("a/b.rs", "use super::X;"), ["a.rs"]);
        assert_eq!(used_by("a/b.rs", "use crate::X;"), ["lib.rs"]);
        assert_eq!(
            used_by("a/b.rs", "use super::super::d::{self, e::{Y, Z as W},};"),
            ["d/e.rs", "d/mod.rs"]
        );
        assert_eq!(
            used_by("d/e.rs", "pub(super) use crate::a::b::c;\nuse super::*;"),
            ["a/b/c.rs", "d/mod.rs"]
        );
        assert_eq!(used_by("a.rs", "mod b;\n#[rustfmt::skip]\npub use b::{\n    c::X,\n};"), ["a/b/c.rs"]);
        assert_eq!(used_by("a.rs", "use std::d::e;\nuse self::b::Y;"), ["a/b.rs"]);
    }

    #[test]
    fn paths_count_wherever_they_stand() {
        assert_eq!(used_by("a.rs", "fn f() -> crate::d::e::X { b::f(1) }"), ["a/b.rs", "d/e.rs"]);
        assert_eq!(used_by("a/b.rs", "#[serde(deserialize_with = \"super::super::d::f\")]"), ["d/mod.rs"]);
    }

    #[test]
    fn what_is_declared_said_or_tested_is_not_used() {
        let text = "mod b;\n//! [x](crate::d)\nfn f() { b(self.b::<u8>(), d::e) } // crate::d\npub(in crate::d) fn g() {}\n\
                    #[cfg(test)]\n#[allow(clippy::x)]\npub(crate) mod tests {\n    use crate::d::e;\n}\nfn h(x: crate::X) {}\n";
        assert_eq!(used_by("a.rs", text), ["lib.rs"]);
    }
}
