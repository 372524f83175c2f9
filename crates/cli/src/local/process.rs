//! A node's process: recognised later, and ended.
//!
//! A process id alone proves nothing, since the system gives it to others in time. A process is ours only if
//! it began at the moment that was written down and its command line names the node's data directory.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
#[cfg(not(target_os = "linux"))]
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeProcess {
    /// Its id.
    pub(crate) pid: u32,
    /// When it began, in the system's own terms; only compared.
    pub(crate) began: String,
}

impl NodeProcess {
    /// The process of this id, so that it can be recognised later; `None` if the system does not tell when it began.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Seen::of(pid).map(|seen| Self { pid, began: seen.began })
    }

    /// Whether this very process, of the node with this data directory, still runs.
    pub(crate) fn runs(&self, data_directory: &Path) -> bool {
        self.see().is_some_and(|seen| !seen.is_ending) && is_about(self.pid, data_directory)
    }

    /// Whether this very process was killed and still has its ports and files.
    pub(crate) fn is_ending(&self) -> bool {
        self.see().is_some_and(|seen| seen.is_ending)
    }

    fn see(&self) -> Option<Seen> {
        Seen::of(self.pid).filter(|seen| seen.began == self.began)
    }

    /// Sends a signal if this very process still runs; does nothing otherwise.
    pub(crate) fn signal(&self, data_directory: &Path, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.runs(data_directory)) else { return Ok(()) };
        match kill_process(pid, signal) {
            // It ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the system tells of a process that has not ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// When it began, in the system's own terms.
    began: String,
    /// It was killed and still has its ports and files: its first thread is gone and another waits for the disk, or
    /// gives back a large memory.
    is_ending: bool,
}

#[cfg(target_os = "linux")]
impl Seen {
    fn of(pid: u32) -> Option<Self> {
        let seen = Self::read(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        // Its memory, and with it its command line, goes before its files do.
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self { is_ending: seen.is_ending || command_line.is_empty(), ..seen })
    }

    /// Reads `/proc/PID/stat`, see proc_pid_stat(5). `None` for a process that only waits to be noticed.
    fn read(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, threads, began) = (*fields.first()?, *fields.get(17)?, *fields.get(19)?);
        let is_ending = matches!(state, "Z" | "X");
        let has_ended = is_ending && matches!(threads, "0" | "1");
        (!has_ended).then(|| Self { began: began.to_owned(), is_ending })
    }
}

#[cfg(target_os = "linux")]
fn is_about(pid: u32, data_directory: &Path) -> bool {
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    // Between fork and exec the child still has its parent's command line.
    command_line.split(|byte| *byte == 0).any(|argument| argument == data_directory.as_os_str().as_bytes())
}

#[cfg(not(target_os = "linux"))]
impl Seen {
    fn of(pid: u32) -> Option<Self> {
        let told = ask_ps(pid, "stat=,lstart=")?;
        let (state, began) = told.trim().split_once(char::is_whitespace)?;
        (!state.starts_with('Z')).then(|| Self { began: began.trim().to_owned(), is_ending: false })
    }
}

#[cfg(not(target_os = "linux"))]
fn is_about(pid: u32, data_directory: &Path) -> bool {
    let directory = data_directory.as_os_str().as_bytes();
    ask_ps(pid, "command=")
        .is_some_and(|line| line.as_bytes().windows(directory.len()).any(|part| part == directory))
}

/// What `ps` tells of a process, on systems without `/proc`.
#[cfg(not(target_os = "linux"))]
fn ask_ps(pid: u32, columns: &str) -> Option<String> {
    let output = Command::new("ps").args(["-ww", "-p", &pid.to_string(), "-o", columns]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_the_very_process_is_recognised_and_signalled() {
        // `sh -c` with a further argument: the argument stands in the command line and does nothing.
        let mut child = Command::new("sh")
            .args(["-c", "read line; exit 7", "/data/node-1"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let right = Path::new("/data/node-1");
        while !is_about(child.id(), right) {
            std::thread::yield_now();
        }
        let ours = NodeProcess { pid: child.id(), began: Seen::of(child.id()).unwrap().began };
        assert!(ours.runs(right));

        let other_directory = Path::new("/data/node-2");
        let reused = NodeProcess { began: "0".to_owned(), ..ours.clone() };
        assert!(!ours.runs(other_directory) && !reused.runs(right));
        ours.signal(other_directory, Signal::KILL).unwrap();
        reused.signal(right, Signal::KILL).unwrap();
        assert!(ours.runs(right), "it was signalled although it is not the one");

        ours.signal(right, Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        assert!(!ours.runs(right));
        ours.signal(right, Signal::KILL).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_ended_when_all_its_threads_have() {
        let stat = |state: &str, threads: u32| {
            format!(
                "17 (a) name) {state} 1 17 16 0 -1 0 0 0 0 0 4 3 0 0 20 0 {threads} 0 4143 0 0 18446744073709551615"
            )
        };
        let seen = |is_ending| Some(Seen { began: "4143".to_owned(), is_ending });
        assert_eq!(Seen::read(&stat("S", 4)), seen(false));
        assert_eq!(Seen::read(&stat("Z", 2)), seen(true), "another thread has its ports");
        assert_eq!(Seen::read(&stat("Z", 1)), None);
        assert_eq!(Seen::read(""), None);
    }
}
