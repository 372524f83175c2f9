//! Arrows between the workspace's crates point down, and every dependency is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{cargo, output};

/// What each crate of the workspace may depend on within it. A crate that is not listed is a problem.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("ruvector-protocol", &[]),
    ("ruvector-state-machine", &[]),
    ("ruvector-status", &[]),
    ("ruvector-storage", &["ruvector-protocol"]),
    ("ruvector-transport", &["ruvector-protocol"]),
    (
        "ruvector-node",
        &[
            "ruvector-protocol",
            "ruvector-state-machine",
            "ruvector-status",
            "ruvector-storage",
            "ruvector-transport",
        ],
    ),
    ("ruvector-api", &[]),
    ("ruvector-server", &["ruvector-api", "ruvector-node"]),
    ("ruvector-client", &["ruvector-api", "ruvector-status"]),
    ("ruvector-cli", &["ruvector-client", "ruvector-server"]),
    (
        "ruvector-simulator",
        &["ruvector-node", "ruvector-protocol", "ruvector-state-machine", "ruvector-storage"],
    ),
    ("ruvector-chaos", &["ruvector-api", "ruvector-client", "ruvector-simulator"]),
    ("ruvector-differential", &["ruvector-api"]),
    ("ruvector-bench", &["ruvector-api", "ruvector-client"]),
    ("xtask", &[]),
];

/// What tests may use beyond that.
const ALLOWED_IN_TESTS: [(&str, &[&str]); 2] =
    [("ruvector-cli", &["ruvector-api", "ruvector-status"]), ("ruvector-server", &["ruvector-client"])];

/// Where every dependency is named, with what it is for.
const NAMED_IN: &str = "docs/ARCHITECTURE.md";

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or none for the program itself.
    kind: Option<String>,
    /// Set for crates of the workspace.
    path: Option<String>,
}

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
    let metadata: Metadata = serde_json::from_slice(&output(&mut cargo(root, metadata))?)?;
    let mut problems = check_arrows(&metadata);
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("can't read Cargo.toml")?;
    let listed = foreign_dependencies(&manifest)?;
    problems.extend(check_unused(&metadata, &listed));
    let described =
        std::fs::read_to_string(root.join(NAMED_IN)).with_context(|| format!("can't read {NAMED_IN}"))?;
    problems.extend(check_described(&listed, &described));
    Ok(problems)
}

fn check_arrows(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    let allowed_in_tests: BTreeMap<&str, &[&str]> = ALLOWED_IN_TESTS.into();
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            problems.push(format!("{}: not in the table of xtask/src/tidy/dependencies.rs", package.name));
            continue;
        };
        let in_tests = allowed_in_tests.get(package.name.as_str()).copied().unwrap_or_default();
        // A crate may depend on itself in tests, to turn on a feature for them.
        let others = package.dependencies.iter().filter(|dependency| dependency.name != package.name);
        for dependency in others.filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
            let is_test = dependency.kind.as_deref() == Some("dev");
            if !(allowed.contains(&name) || is_test && in_tests.contains(&name)) {
                problems.push(format!("{}: must not depend on {name}", package.name));
            }
        }
    }
    problems
}

/// The names in `[workspace.dependencies]`, without the workspace's own crates.
fn foreign_dependencies(manifest: &str) -> Result<BTreeSet<String>> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml is not TOML")?;
    let dependencies = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let dependencies = dependencies.and_then(toml::Value::as_table).context("no [workspace.dependencies]")?;
    Ok(dependencies.keys().filter(|name| !name.starts_with("ruvector-")).cloned().collect())
}

fn check_unused(metadata: &Metadata, listed: &BTreeSet<String>) -> Vec<String> {
    let used: BTreeSet<&str> = metadata
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let unused = listed.iter().filter(|name| !used.contains(name.as_str()));
    unused.map(|name| format!("Cargo.toml: no crate uses the dependency {name}")).collect()
}

fn check_described(listed: &BTreeSet<String>, described: &str) -> Vec<String> {
    listed
        .iter()
        .filter(|name| !names(described, name))
        .map(|name| format!("{NAMED_IN}: does not say what the dependency `{name}` is for"))
        .collect()
}

/// Whether `name` stands in `text` as a word of its own, and not as a part of another library's name.
fn names(text: &str, name: &str) -> bool {
    let ends = |character: Option<char>| {
        !character.is_some_and(|character| character.is_alphanumeric() || matches!(character, '-' | '_'))
    };
    text.match_indices(name)
        .any(|(at, _)| ends(text[..at].chars().next_back()) && ends(text[at + name.len()..].chars().next()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Metadata {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind, in_workspace)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: in_workspace.then(|| "somewhere".to_owned()),
            })
            .collect();
        Metadata { packages: vec![Package { name: name.to_owned(), dependencies }] }
    }

    #[test]
    fn an_arrow_that_points_up_is_a_problem() {
        let down = package("ruvector-server", &[("ruvector-node", None, true), ("serde", None, false)]);
        assert_eq!(check_arrows(&down), [""; 0]);
        for kind in [None, Some("dev"), Some("build")] {
            let up = package("ruvector-node", &[("ruvector-server", kind, true)]);
            assert_eq!(check_arrows(&up), ["ruvector-node: must not depend on ruvector-server"]);
        }
    }

    #[test]
    fn the_core_and_the_state_machine_know_nobody() {
        let names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        for knows_nobody in ["ruvector-protocol", "ruvector-state-machine"] {
            for other in names.iter().filter(|name| **name != knows_nobody) {
                let problems = check_arrows(&package(knows_nobody, &[(other, None, true)]));
                assert_eq!(problems, [format!("{knows_nobody}: must not depend on {other}")]);
            }
        }
    }

    #[test]
    fn what_is_for_tests_is_not_for_programs() {
        let test = package("ruvector-cli", &[("ruvector-api", Some("dev"), true)]);
        assert_eq!(check_arrows(&test), [""; 0]);
        let program = package("ruvector-cli", &[("ruvector-api", None, true)]);
        assert_eq!(check_arrows(&program), ["ruvector-cli: must not depend on ruvector-api"]);
    }

    #[test]
    fn an_unknown_crate_is_a_problem() {
        assert_eq!(check_arrows(&package("ruvector-new", &[])).len(), 1);
    }

    #[test]
    fn a_dependency_must_be_used_and_described() {
        let manifest = "[workspace.dependencies]\nruvector-node = \"0\"\nserde = \"1\"\nunused = \"1\"\n";
        let listed = foreign_dependencies(manifest).unwrap();
        let metadata = package("ruvector-node", &[("serde", None, false)]);
        assert_eq!(check_unused(&metadata, &listed), ["Cargo.toml: no crate uses the dependency unused"]);
        let problems =
            check_described(&listed, "| serde | bytes |\n| unused-too, not_unused | other names |");
        assert_eq!(problems, [format!("{NAMED_IN}: does not say what the dependency `unused` is for")]);
    }
}
