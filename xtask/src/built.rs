//! What cargo's messages tell about what was built; see "External tools" in the Cargo book.

use std::path::PathBuf;

use serde::Deserialize;

/// The parts of a message that matter here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The program of this name, if this line of cargo's tells that it was built.
pub(crate) fn executable_in(line: &str, program: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    // The program's own unit tests are an executable of the same target, in a directory for intermediate results.
    let executable = message.executable?;
    let is_program = target.name == program && target.kind == ["bin"];
    (is_program && executable.file_stem().is_some_and(|stem| stem == program)).then_some(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_its_tests_and_other_programs() {
        let line = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"x","target":{{"name":"{name}","kind":["bin"]}},"executable":{executable}}}"#
            )
        };
        let program = line("simulator", r#""/target/checked/simulator""#);
        assert_eq!(executable_in(&program, "simulator"), Some(PathBuf::from("/target/checked/simulator")));
        for other in [
            line("simulator", r#""/target/checked/deps/simulator-0123456789abcdef""#),
            line("simulator", "null"),
            line("ruvector", r#""/target/checked/ruvector""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ] {
            assert_eq!(executable_in(&other, "simulator"), None, "{other}");
        }
    }
}
