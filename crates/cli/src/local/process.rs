//! A node's process: started in the background, recognised later, ended.
//!
//! A process id alone proves nothing, since the system gives it to others in time. A process is ours only if
//! it began at the moment that was written down and its command line names the node's data directory.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{LocalCluster, LocalNode};
use crate::failure::{Doing, Result};

/// A process as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeProcess {
    /// Its id.
    pub(crate) pid: u32,
    /// When it began, in the system's own terms; only compared.
    pub(crate) began: String,
}

/// Starts a node in the background: in a process group of its own, so that neither Ctrl-C nor a closed terminal
/// reaches it, and with all of its output in the node's log file: its log, and what it may say before that is set up or when it panics.
pub(crate) fn spawn(cluster: &LocalCluster, node: &LocalNode) -> Result<(Child, NodeProcess)> {
    let log_path = node.log_file();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .doing(|| format!("write {}", log_path.display()))?;
    let for_errors = log.try_clone().doing(|| format!("write {}", log_path.display()))?;
    let program = std::env::current_exe().doing(|| "find this program's own file".to_owned())?;
    let mut child = Command::new(program)
        .args(["consensus", "serve"])
        .args(["--cluster", cluster.name.as_str()])
        .args(["--id", &node.id])
        .arg("--data-dir")
        .arg(&node.data_dir)
        .args(["--listen-client", &node.client])
        .args(["--listen-peer", &node.peer])
        .args(["--initial-nodes", &cluster.initial_nodes()])
        .arg("--log-file")
        .arg(&log_path)
        .args(cluster.retention.flags())
        .env_remove("RUVECTOR_ENDPOINTS")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(for_errors)
        .process_group(0)
        .spawn()
        .doing(|| format!("start {}", node.id))?;
    let pid = child.id();
    match Seen::of(pid) {
        Some(Seen { began, .. }) => Ok((child, NodeProcess { pid, began })),
        None => {
            // It can't be recognised later, so it must not stay.
            let _ = child.kill().and_then(|()| child.wait());
            Err(io::Error::other("the system does not tell when it began"))
                .doing(|| format!("watch {}", node.id))
        }
    }
}

impl NodeProcess {
    /// Whether this very process still runs.
    pub(crate) fn runs(&self, node: &LocalNode) -> bool {
        self.see().is_some_and(|seen| !seen.is_ending) && is_about(self.pid, &node.data_dir)
    }

    /// Whether this very process was killed and still has its ports and files.
    pub(crate) fn is_ending(&self) -> bool {
        self.see().is_some_and(|seen| seen.is_ending)
    }

    fn see(&self) -> Option<Seen> {
        Seen::of(self.pid).filter(|seen| seen.began == self.began)
    }

    /// Sends a signal if this very process still runs; does nothing otherwise.
    pub(crate) fn signal(&self, node: &LocalNode, signal: Signal) -> Result {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.runs(node)) else { return Ok(()) };
        match kill_process(pid, signal) {
            // It ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => {
                Err(io::Error::from(error)).doing(|| format!("signal {} (process {})", node.id, self.pid))
            }
        }
    }
}

/// The last lines of a node's log.
pub(crate) fn last_log_lines(node: &LocalNode, line_count: usize) -> Vec<String> {
    const TAIL_BYTES: u64 = 16 << 10;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(node.log_file())?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let Ok(tail) = read() else { return Vec::new() };
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(line_count)..].iter().map(|line| (*line).to_owned()).collect()
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
    use super::*;

    fn node(data_directory: &Path) -> LocalNode {
        LocalNode {
            id: "node-1".to_owned(),
            client: String::new(),
            peer: String::new(),
            data_dir: data_directory.to_owned(),
            process: None,
        }
    }

    #[test]
    fn only_the_very_process_is_recognised_and_signalled() {
        // `sh -c` with a further argument: the argument stands in the command line and does nothing.
        let mut child = Command::new("sh")
            .args(["-c", "read line; exit 7", "/data/node-1"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        while !is_about(child.id(), Path::new("/data/node-1")) {
            std::thread::yield_now();
        }
        let ours = NodeProcess { pid: child.id(), began: Seen::of(child.id()).unwrap().began };
        let right = node(Path::new("/data/node-1"));
        assert!(ours.runs(&right));

        let other_directory = node(Path::new("/data/node-2"));
        let reused = NodeProcess { began: "0".to_owned(), ..ours.clone() };
        assert!(!ours.runs(&other_directory) && !reused.runs(&right));
        ours.signal(&other_directory, Signal::KILL).unwrap();
        reused.signal(&right, Signal::KILL).unwrap();
        assert!(ours.runs(&right), "it was signalled although it is not the one");

        ours.signal(&right, Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        assert!(!ours.runs(&right));
        ours.signal(&right, Signal::KILL).unwrap();
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

    #[test]
    fn the_last_lines_of_a_log_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let node = node(directory.path());
        assert!(last_log_lines(&node, 2).is_empty());
        let text: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(node.log_file(), text).unwrap();
        assert_eq!(last_log_lines(&node, 2), ["line 4998", "line 4999"]);
    }
}
