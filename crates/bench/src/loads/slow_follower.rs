//! Puts while one follower is far too slow: the others are a majority, so nobody should wait for it.

use std::convert::Infallible;
use std::future;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{FutureExt, LocalBoxFuture};

use super::stress::{Phase, Victim, compare};
use crate::cluster::Cluster;
use crate::load::{Load, Settings};
use crate::process::{pause, resume};
use crate::recording::Outcome;
use crate::system::System;

/// The follower runs for the rest of each period, too short a time to keep up, and too long an absence for anybody
/// to rely on it; shorter than any election timeout.
const PERIOD: Duration = Duration::from_millis(100);
const STOPPED: Duration = Duration::from_millis(90);

/// Puts twice as long as other loads, by clients of the other nodes: quiet at first, then with a slow follower.
#[derive(Debug)]
pub(super) struct SlowFollower;

impl Load for SlowFollower {
    fn name(&self) -> &'static str {
        "slow-follower"
    }

    fn description(&self) -> String {
        let (stopped, period) = (STOPPED.as_millis(), PERIOD.as_millis());
        format!(
            "put to the leader and a follower while the other one is stopped {stopped} of every {period} ms"
        )
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        run(cluster, settings).boxed_local()
    }
}

async fn run(cluster: &Cluster, settings: &Settings) -> Result<Outcome> {
    let nodes = cluster.processes();
    let victim = Victim::choose(cluster, settings).await?;
    let quiet = Phase::run(victim.workers(settings), settings, &nodes).await?;
    let stressed = tokio::select! {
        stressed = Phase::run(victim.workers(settings), settings, &nodes) => stressed?,
        never = slow_down(nodes.0[victim.follower]) => match never? {},
    };
    let mut outcome = compare(&quiet, &stressed);
    victim.catch_up(cluster, &mut outcome).await?;
    Ok(outcome)
}

/// Slows a process down until it is dropped.
async fn slow_down(pid: u32) -> Result<Infallible> {
    let _brake = Brake::on(pid)?;
    future::pending().await
}

/// Stops a process and lets it go on, in turns. Dropped, it leaves the process running.
#[derive(Debug)]
struct Brake {
    /// Closed to end it.
    _release: mpsc::Sender<Infallible>,
    _turns: JoinHandle<()>,
}

impl Brake {
    fn on(pid: u32) -> Result<Self> {
        pause(pid).context("the follower can't be stopped")?;
        let (release, released) = mpsc::channel();
        // A thread and not a task, which would wait for the clients' work.
        let turns = thread::Builder::new().name("brake".to_owned()).spawn(move || {
            // What fails was possible a moment ago, so the process has ended: others see to that.
            let mut wait = STOPPED;
            let mut stopped = true;
            while released.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let _ = if stopped { resume(pid) } else { pause(pid) };
                stopped = !stopped;
                wait = if stopped { STOPPED } else { PERIOD - STOPPED };
            }
            let _ = resume(pid);
        })?;
        Ok(Self { _release: release, _turns: turns })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// The third field of `/proc/PID/stat`, see proc(5).
    fn is_stopped(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
    }

    fn wait_until(condition: impl Fn() -> bool) {
        for _ in 0..30_000 {
            if condition() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("it has not come to that");
    }

    #[test]
    fn a_brake_stops_in_turns_and_lets_go_at_the_end() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        let brake = Brake::on(pid).unwrap();
        for _ in 0..2 {
            wait_until(|| is_stopped(pid));
            wait_until(|| !is_stopped(pid));
        }
        wait_until(|| is_stopped(pid));
        let Brake { _release: release, _turns: turns } = brake;
        drop(release);
        turns.join().unwrap();
        wait_until(|| !is_stopped(pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
