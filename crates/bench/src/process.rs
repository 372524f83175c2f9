//! What the system tells of processes, and how they are ended.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Processes that are looked at together, as a system's nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessGroup(pub(crate) Vec<u32>);

impl ProcessGroup {
    /// This process: the generator.
    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// User and system time of all together. One that has ended counts nothing.
    ///
    /// # Errors
    /// If what the system tells is not understood.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let mut ticks = 0;
        for pid in &self.0 {
            let Ok(line) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            ticks +=
                cpu_ticks(&line).with_context(|| format!("/proc/{pid}/stat is not understood: {line}"))?;
        }
        let nanos_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        Ok(Duration::from_nanos(ticks * nanos_per_tick))
    }

    /// The resident memory of each process in bytes; of one that has ended, none.
    pub(crate) fn resident_bytes(&self) -> Vec<u64> {
        let of = |pid: &u32| resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?);
        self.0.iter().filter_map(of).collect()
    }
}

/// Kills a process as a crash would (`kill -9`). One that has ended already is no error.
pub(crate) fn kill(pid: u32) -> Result<()> {
    send(pid, Signal::KILL)
}

/// Stops a process where it is, until [`resume`]. One that has ended is no error.
pub(crate) fn pause(pid: u32) -> Result<()> {
    send(pid, Signal::STOP)
}

/// Lets a stopped process go on. One that runs, or has ended, is no error.
pub(crate) fn resume(pid: u32) -> Result<()> {
    send(pid, Signal::CONT)
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    match kill_process(id, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't send {signal:?} to process {pid}")),
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, see proc(5). The name, field 2, may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 99 98 20 0 3 0 1000 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(22));
        assert_eq!(cpu_ticks("42 (cut"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nVmData:\t1 kB\n"), Some(2 << 20));
        assert_eq!(resident("Name:\tkthread\n"), None);
    }

    #[test]
    fn this_process_takes_memory_and_time() {
        let this = ProcessGroup(vec![std::process::id()]);
        assert!(this.resident_bytes()[0] > 100_000);
        let before = this.cpu_time().unwrap();
        let mut sum = 0_u64;
        while this.cpu_time().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
