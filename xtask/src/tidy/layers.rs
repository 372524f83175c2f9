//! Files of one layer do not name another layer that they must not know.

use super::source::SourceFile;

/// A part of the sources, and what it must not name.
struct Layer {
    /// Where the part lies: a directory or a file.
    sources: &'static str,
    /// Crates.
    crates: &'static [&'static str],
    /// Modules of its own crate.
    modules: &'static [&'static str],
    reason: &'static str,
}

const LAYERS: [Layer; 7] = [
    Layer {
        sources: "crates/server/src/service/",
        crates: &["axum", "hyper", "prost", "ruvector_api", "tonic"],
        modules: &["admin", "etcd", "frontend", "groups", "held", "metrics", "native", "wire"],
        reason: "the service knows no protocol",
    },
    Layer {
        sources: "crates/server/src/wire/",
        crates: &[],
        modules: &["admin", "etcd", "native"],
        reason: "what protocols share belongs to none of them",
    },
    beside_etcd("crates/server/src/native/"),
    beside_etcd("crates/server/src/admin.rs"),
    beside_etcd("crates/server/src/held.rs"),
    beside_etcd("crates/server/src/http.rs"),
    beside_etcd("crates/server/src/sample.rs"),
];

const fn beside_etcd(sources: &'static str) -> Layer {
    let reason = "what it shares with etcd's services belongs to `service` or `wire`";
    Layer { sources, crates: &[], modules: &["etcd"], reason }
}

pub(super) fn check(file: &SourceFile) -> Vec<String> {
    let mut problems = Vec::new();
    let path = file.path.to_string_lossy();
    for layer in LAYERS.iter().filter(|layer| path.starts_with(layer.sources)) {
        for (line, text) in file.code_lines() {
            let crates = layer.crates.iter().filter(|name| names(text, name, "::"));
            let modules = layer.modules.iter().filter(|name| names(text, &format!("crate::{name}"), ""));
            for name in crates.chain(modules) {
                problems
                    .push(file.problem(line, format_args!("`{name}` has no place here: {}", layer.reason)));
            }
        }
    }
    problems
}

/// Whether a path stands in a text, from the start of a word to the end of one, with something behind it.
fn names(text: &str, path: &str, behind: &str) -> bool {
    let is_of_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(path).any(|(at, _)| {
        let rest = &text[at + path.len()..];
        let is_word = !text[..at].ends_with(is_of_word) && !rest.starts_with(is_of_word);
        is_word && rest.starts_with(behind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_does_not_name_what_it_must_not_know() {
        for (path, line, problems) in [
            ("crates/server/src/service/read.rs", "use tonic::Status;", 1),
            ("crates/server/src/service/watch/hub.rs", "use crate::etcd::convert;", 1),
            ("crates/server/src/service/read.rs", "use super::error::ServiceError;", 0),
            ("crates/server/src/service/read.rs", "// as tonic::Status does", 0),
            ("crates/server/src/native/intake.rs", "use crate::etcd;", 1),
            ("crates/server/src/native/intake.rs", "use tonic::Streaming;", 0),
            ("crates/server/src/service/read.rs", "let tonic = 1;", 0),
            ("crates/server/src/http.rs", "use crate::etcd_version::ETCD_VERSION;", 0),
            ("crates/server/src/etcd/kv.rs", "use crate::etcd::error;", 0),
        ] {
            let file = SourceFile::for_test(path, &format!("{line}\n"));
            assert_eq!(check(&file).len(), problems, "{path}: {line}");
        }
    }
}
