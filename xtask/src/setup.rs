//! What `cargo xtask test` needs beside Rust and a C compiler: installed where that is permitted, and otherwise left out by name.
//!
//! Nothing is left out in silence: each gap is told when it is found and again in the summary. `cargo xtask ci` takes a gap for a failure.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process::{cargo, run as run_command, search_path};

/// Counts instructions; must be of the version of the crate that the benchmark is linked with.
const RUNNER: &str = "gungraun-runner";

/// A program that something here runs.
struct Need {
    program: &'static str,
    /// Debian's packages that bring it.
    packages: &'static [&'static str],
    /// What needs it, as it is told to people.
    what: &'static str,
    without: Without,
}

/// What of the pipeline can't be run without something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// Tests with this in their names.
    Tests(&'static str),
    /// All tests of this package.
    Package(&'static str),
    /// The step of this name.
    Step(&'static str),
    /// Less is tested, but the tests see to that themselves.
    Nothing,
}

const NEEDS: [Need; 6] = [
    Need {
        program: "etcdctl",
        packages: &["etcd-client"],
        what: "the tests by etcd's own client",
        without: Without::Tests("etcdctl"),
    },
    Need {
        program: "etcd",
        packages: &["etcd-server"],
        what: "the comparison with etcd's answers",
        without: Without::Package("ruvector-differential"),
    },
    Need {
        program: "ip",
        packages: &["iproute2"],
        what: "real nodes under faults",
        without: Without::Package("ruvector-chaos"),
    },
    Need {
        program: "mkfs.ext4",
        packages: &["e2fsprogs"],
        what: "real nodes on disks whose syncs fail",
        without: Without::Nothing,
    },
    Need { program: "c++", packages: &["g++"], what: "fuzzing", without: Without::Step("fuzz") },
    Need {
        program: "valgrind",
        packages: &["valgrind", "libc6-dbg"],
        what: "instruction counts",
        without: Without::Step("instructions"),
    },
];

/// Something that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    what: &'static str,
    /// Why, and what would help.
    why: String,
    without: Without,
}

/// What the machine lacks when everything was tried.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    gaps: Vec<Gap>,
}

/// How programs are installed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Root,
    /// May ask for a password.
    Sudo,
    /// Must not ask: there is nobody to answer.
    SilentSudo,
}

/// Finds out what is missing and, if `may_install`, installs it; answers what is missing still.
pub(crate) fn run(root: &Path, may_install: bool) -> Result<Setup> {
    let missing = NEEDS.iter().filter(|need| find(need.program).is_none());
    let installer = if may_install { installer() } else { None };
    let mut gaps = Vec::new();
    let mut lists_are_new = false;
    for need in missing {
        let failure = match installer {
            Some(installer) => {
                println!("{} is missing ({}): installing it", need.program, need.what);
                if !lists_are_new {
                    // Old lists may still do.
                    let _ = run_command(&mut apt_get(installer, &["update", "--quiet=2"]));
                    lists_are_new = true;
                }
                install(installer, need).err().map(|error| format!("{error:#}"))
            }
            None => may_install.then(|| "apt-get may not be used here".to_owned()),
        };
        if find(need.program).is_none() {
            gaps.push(need.gap(failure));
        }
    }
    gaps.extend(runner(root, may_install)?);
    gaps.extend(permissions());
    for gap in &gaps {
        println!("left out: {gap}");
    }
    if gaps.is_empty() {
        println!("nothing is missing");
    }
    Ok(Setup { gaps })
}

impl Setup {
    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether a step of the pipeline can't be run.
    pub(crate) fn lacks_step(&self, name: &str) -> bool {
        self.gaps.iter().any(|gap| matches!(gap.without, Without::Step(step) if step == name))
    }

    /// What `cargo test` is told so that it runs what can be run.
    pub(crate) fn test_arguments(&self) -> Vec<&'static str> {
        let mut arguments = Vec::new();
        for gap in &self.gaps {
            if let Without::Package(package) = gap.without {
                arguments.extend(["--exclude", package]);
            }
        }
        arguments.push("--");
        for gap in &self.gaps {
            if let Without::Tests(name) = gap.without {
                arguments.extend(["--skip", name]);
            }
        }
        arguments
    }
}

impl Need {
    fn gap(&self, failure: Option<String>) -> Gap {
        let reason = failure.map_or_else(String::new, |failure| format!("; {failure}"));
        let packages = self.packages.join(" ");
        let why = format!("{} is missing (Debian: apt-get install {packages}){reason}", self.program);
        Gap { what: self.what, why, without: self.without }
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.what, self.why)
    }
}

/// Who may run apt-get, if anybody.
fn installer() -> Option<Installer> {
    find("apt-get")?;
    choose_installer(
        rustix::process::geteuid().is_root(),
        find("sudo").is_some(),
        std::io::stdin().is_terminal(),
    )
}

fn choose_installer(is_root: bool, has_sudo: bool, is_attended: bool) -> Option<Installer> {
    match (is_root, has_sudo, is_attended) {
        (true, _, _) => Some(Installer::Root),
        (false, true, true) => Some(Installer::Sudo),
        (false, true, false) => Some(Installer::SilentSudo),
        (false, false, _) => None,
    }
}

fn install(installer: Installer, need: &Need) -> Result<()> {
    let options = ["install", "--yes", "--quiet=2", "--no-install-recommends"];
    run_command(&mut apt_get(installer, &[&options, need.packages].concat()))?;
    if need.program == "etcd" && Path::new("/run/systemd/system").exists() {
        // The package starts a server, which nobody asked for.
        run_command(&mut privileged(installer, "systemctl", &["disable", "--now", "etcd"]))?;
    }
    Ok(())
}

fn apt_get(installer: Installer, arguments: &[&str]) -> Command {
    // Not by the environment, of which sudo lets nothing through.
    let arguments = [&["DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    privileged(installer, "env", &arguments)
}

fn privileged(installer: Installer, program: &str, arguments: &[&str]) -> Command {
    let words: &[&str] = match installer {
        Installer::Root => &[],
        Installer::Sudo => &["sudo"],
        Installer::SilentSudo => &["sudo", "--non-interactive"],
    };
    let mut line = words.iter().chain([&program]).chain(arguments);
    let mut command = Command::new(line.next().expect("there is a program"));
    command.args(line).env("PATH", search_path());
    command
}

/// Sees to the counter of instructions.
fn runner(root: &Path, may_install: bool) -> Result<Option<Gap>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("can't read Cargo.toml")?;
    let wanted = wanted_runner(&manifest)?;
    if has_runner(&wanted) {
        return Ok(None);
    }
    let mut failure = String::new();
    if may_install {
        println!("{RUNNER} {wanted} is missing (instruction counts): installing it");
        let install = ["install", "--locked", "--quiet", "--debug", RUNNER, "--version", &wanted];
        if let Err(error) = run_command(&mut cargo(root, install)) {
            failure = format!("; {error:#}");
        }
    }
    Ok((!has_runner(&wanted)).then(|| Gap {
        what: "instruction counts",
        why: format!(
            "{RUNNER} {wanted} is missing (cargo install --locked {RUNNER} --version {wanted}){failure}"
        ),
        without: Without::Step("instructions"),
    }))
}

/// The version of the workspace's dependency on the library.
fn wanted_runner(manifest: &str) -> Result<String> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml is damaged")?;
    let version = manifest["workspace"]["dependencies"].get("gungraun").and_then(toml::Value::as_str);
    Ok(version.context("Cargo.toml names no version of gungraun")?.to_owned())
}

fn has_runner(wanted: &str) -> bool {
    let asked =
        Command::new(RUNNER).arg("--version").env("PATH", search_path()).stderr(Stdio::null()).output();
    asked.is_ok_and(|output| is_version(&String::from_utf8_lossy(&output.stdout), wanted))
}

/// Whether a program that says this of itself is of the version.
fn is_version(said: &str, wanted: &str) -> bool {
    said.split_whitespace().any(|word| word == wanted)
}

/// What no program helps with: containers often forbid it, also to root.
fn permissions() -> Vec<Gap> {
    let mut gaps = Vec::new();
    if !may_mount() {
        gaps.push(Gap {
            what: "a full disk under a node",
            why: "no file system may be mounted here; it takes root, in a container a privileged one"
                .to_owned(),
            without: Without::Tests("full_disk"),
        });
    }
    if !may(Command::new("unshare").args(["--net", "true"])) {
        gaps.push(Gap {
            what: "real nodes under faults",
            why: "no network namespace may be made here; it takes root, in a container a privileged one"
                .to_owned(),
            without: Without::Package("ruvector-chaos"),
        });
    }
    gaps
}

fn may_mount() -> bool {
    let place = std::env::temp_dir().join(format!("ruvector-setup-{}", std::process::id()));
    let mounted = std::fs::create_dir(&place).is_ok()
        && may(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&place))
        && may(Command::new("umount").arg(&place));
    let _ = std::fs::remove_dir(&place);
    mounted
}

fn may(command: &mut Command) -> bool {
    let tried = command.env("PATH", search_path()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Where a program is, if it is anywhere that those we run look for it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_in(&search_path(), program)
}

fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    let places = std::env::split_paths(path).map(|directory| directory.join(program));
    places.into_iter().find(|place| {
        let metadata = std::fs::metadata(place);
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn setup(gaps: &[Without]) -> Setup {
        let gap = |without: &Without| Gap { what: "it", why: "there is none".to_owned(), without: *without };
        Setup { gaps: gaps.iter().map(gap).collect() }
    }

    fn workspace_file(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn a_machine_that_has_everything_runs_everything() {
        let setup = Setup::default();
        assert_eq!(setup.test_arguments(), ["--"]);
        assert!(!setup.lacks_step("fuzz"));
    }

    #[test]
    fn only_what_needs_a_missing_program_is_left_out() {
        let setup = setup(&[
            Without::Tests("etcdctl"),
            Without::Step("fuzz"),
            Without::Nothing,
            Without::Package("ruvector-chaos"),
            Without::Tests("full_disk"),
        ]);
        let expected = ["--exclude", "ruvector-chaos", "--", "--skip", "etcdctl", "--skip", "full_disk"];
        assert_eq!(setup.test_arguments(), expected);
        assert!(setup.lacks_step("fuzz"));
        assert!(!setup.lacks_step("instructions"));
    }

    #[test]
    fn what_is_left_out_exists() {
        let pipeline = workspace_file("xtask/src/pipeline.rs");
        for need in NEEDS {
            match need.without {
                Without::Step(name) => {
                    assert!(pipeline.contains(&format!("Step {{ name: \"{name}\"")), "{name}");
                }
                Without::Package(name) => {
                    let directory = name.strip_prefix("ruvector-").unwrap();
                    assert!(workspace_file(&format!("crates/{directory}/Cargo.toml")).contains(name));
                }
                Without::Tests(_) | Without::Nothing => {}
            }
        }
        for tests in ["etcdctl", "full_disk"] {
            assert!(workspace_file("crates/cli/tests/e2e/main.rs").contains(&format!("mod {tests};")));
        }
    }

    #[test]
    fn a_gap_says_what_is_left_out_why_and_what_would_help() {
        let need = NEEDS.iter().find(|need| need.program == "valgrind").unwrap();
        let gap = need.gap(Some("apt-get may not be used here".to_owned())).to_string();
        assert_eq!(
            gap,
            "instruction counts: valgrind is missing (Debian: apt-get install valgrind libc6-dbg); \
             apt-get may not be used here"
        );
    }

    #[test]
    fn nobody_is_asked_for_a_password_who_is_not_there() {
        assert_eq!(choose_installer(true, true, true), Some(Installer::Root));
        assert_eq!(choose_installer(true, false, false), Some(Installer::Root));
        assert_eq!(choose_installer(false, true, true), Some(Installer::Sudo));
        assert_eq!(choose_installer(false, true, false), Some(Installer::SilentSudo));
        assert_eq!(choose_installer(false, false, true), None);
    }

    #[test]
    fn the_runner_must_be_of_the_very_version_of_the_library() {
        let wanted = wanted_runner(&workspace_file("Cargo.toml")).unwrap();
        assert!(
            workspace_file("Cargo.lock").contains(&format!("name = \"gungraun\"\nversion = \"{wanted}\""))
        );
        assert!(is_version("gungraun-runner 0.20.0\n", "0.20.0"));
        assert!(!is_version("gungraun-runner 0.20.01\n", "0.20.0"));
        assert!(!is_version("", "0.20.0"));
        assert!(wanted_runner("[workspace.dependencies]\n").is_err());
    }

    #[test]
    fn only_a_file_that_can_be_run_is_a_program() {
        let scratch = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| scratch.path().join(name));
        std::fs::create_dir_all(first.join("directory")).unwrap();
        std::fs::create_dir_all(&second).unwrap();
        std::fs::write(first.join("tool"), "").unwrap();
        std::fs::write(second.join("tool"), "").unwrap();
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(find_in(&path, "tool"), None);
        std::fs::set_permissions(second.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in(&path, "tool"), Some(second.join("tool")));
        assert_eq!(find_in(&path, "directory"), None);
    }
}
