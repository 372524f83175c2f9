//! How a leader brings its log to its followers: appends, heartbeats, entries from the disk, snapshots.

use super::core::Core;
use super::leader::Leader;
use super::planted::PlantedBug;
use crate::io::Effect;
use crate::log::{Availability, fitting};
use crate::message::{AppendRequest, Heartbeat, LeaderStamp, Message};
use crate::progress::{Progress, ProgressState};
use crate::types::{Entry, Index, LogPosition, NodeId};

impl Leader {
    /// Time has passed: appends what was gathered, says what is committed, and that it lives.
    pub(super) fn wake(&mut self, core: &mut Core) {
        self.append_if_due(core);
        if self.heartbeat_due <= core.now {
            self.heartbeat(core);
            // From now on in step with the node's other leaders. Not where a read is confirmed: whoever confirms one after the
            // other would be heard between them as well.
            self.heartbeat_due = core.next_beat();
        }
        if self.is_commit_news {
            self.tell_commit(core);
        }
    }

    /// Makes itself heard by everyone, with the newest round of read confirmations.
    pub(super) fn heartbeat(&mut self, core: &mut Core) {
        self.heartbeat_due = core.now.after_micros(core.config.heartbeat_interval_us);
        let reminder = self.reminder(core);
        for peer in core.peers() {
            self.send_heartbeat(core, peer, reminder.clone());
        }
    }

    pub(super) fn replicate_to_all(&mut self, core: &mut Core) {
        for peer in core.peers() {
            self.replicate(core, peer);
        }
    }

    /// Sends a follower whatever it may be sent now.
    pub(super) fn replicate(&mut self, core: &mut Core, to: NodeId) {
        loop {
            let Some(progress) = self.followers.get_mut(&to) else { return };
            let last = core.log.last().index;
            if !progress.may_send(last, core.config.inflight_bytes_max) {
                return;
            }
            let next = progress.next;
            match core.log.availability(next) {
                Availability::Memory => {
                    let entries = core.log.batch(next, core.config.append_bytes_max);
                    self.send_append(core, to, entries);
                }
                Availability::Disk => {
                    progress.is_loading = true;
                    let through = Index(core.log.tail_first().0 - 1);
                    let bytes_max = core.config.append_bytes_max;
                    core.effects.push(Effect::LoadEntries { to, from: next, through, bytes_max });
                }
                Availability::Compacted => self.send_snapshot(core, to),
            }
        }
    }

    /// Entries of the durable log, for a follower that is behind the tail.
    pub(super) fn entries_loaded(&mut self, core: &mut Core, to: NodeId, mut entries: Vec<Entry>) {
        let Some(progress) = self.followers.get_mut(&to).filter(|progress| progress.is_loading) else {
            return;
        };
        progress.is_loading = false;
        // The disk counts bytes in its own way.
        let count = fitting(entries.iter(), core.config.append_bytes_max).count();
        entries.truncate(count);
        let is_wanted = !matches!(progress.state, ProgressState::Snapshot);
        if entries.is_empty() && is_wanted {
            self.send_snapshot(core, to);
        } else if is_wanted
            && entries.first().is_some_and(|entry| entry.index == progress.next)
            && entries.iter().all(|entry| core.log.matches(entry.position()))
        {
            self.send_append(core, to, entries);
        }
        self.replicate(core, to);
    }

    /// A transfer of a snapshot ended.
    pub(super) fn snapshot_sent(&mut self, core: &Core, to: NodeId, position: Option<LogPosition>) {
        if let Some(progress) = self.followers.get_mut(&to) {
            let position = position.filter(|position| position.index <= core.log.last().index);
            progress.snapshot_sent(position, core.now);
        }
    }

    /// The connection to a follower broke.
    pub(super) fn peer_lost(&mut self, core: &Core, peer: NodeId) {
        if let Some(progress) = self.followers.get_mut(&peer) {
            progress.connection_lost(core.now);
        }
    }

    fn send_snapshot(&mut self, core: &mut Core, to: NodeId) {
        if let Some(progress) = self.followers.get_mut(&to) {
            progress.state = ProgressState::Snapshot;
            core.effects.push(Effect::SendSnapshot { to });
        }
    }

    /// Sends `entries`, which begin at the follower's next index.
    fn send_append(&mut self, core: &mut Core, to: NodeId, entries: Vec<Entry>) {
        let Some(progress) = self.followers.get(&to) else { return };
        let index = Index(progress.next.0 - 1);
        let Some(term) = core.log.term_at(index) else {
            self.send_snapshot(core, to);
            return;
        };
        let previous = LogPosition { term, index };
        let commit = core.commit();
        let stamp = self.stamp(core, to, progress, true);
        let last = entries.last().map_or(index, |entry| entry.index);
        let bytes = entries.iter().map(Entry::weight).sum();
        core.send(to, Message::AppendRequest(AppendRequest { previous, entries, commit, stamp }));
        if let Some(progress) = self.followers.get_mut(&to) {
            progress.sent(last, bytes, commit, core.now);
        }
    }

    fn send_heartbeat(&mut self, core: &mut Core, to: NodeId, remembered: Vec<(NodeId, Index)>) {
        let Some(progress) = self.followers.get(&to) else { return };
        let mut commit = core.commit().min(progress.matched);
        if core.config.planted(PlantedBug::CommitBeyondMatch) {
            commit = core.commit();
        }
        let stamp = self.stamp(core, to, progress, commit == core.commit());
        core.send(to, Message::Heartbeat(Heartbeat { commit, remembered, stamp }));
        if let Some(progress) = self.followers.get_mut(&to) {
            progress.told_commit = progress.told_commit.max(commit);
        }
    }

    /// Tells those followers what is committed that no append told. Those whose window of appends is full
    /// learn it with the next one.
    fn tell_commit(&mut self, core: &mut Core) {
        self.is_commit_news = false;
        for peer in core.peers() {
            let Some(progress) = self.followers.get(&peer) else { continue };
            if progress.told_commit >= core.commit() {
                continue;
            }
            if progress.is_replicating() && progress.next > core.log.last().index {
                self.send_append(core, peer, Vec::new());
            } else if progress.matched > progress.told_commit {
                self.send_heartbeat(core, peer, Vec::new());
            }
        }
    }

    fn stamp(&self, core: &Core, to: NodeId, progress: &Progress, tells_all_commits: bool) -> LeaderStamp {
        // Only a leader that surely still is one, and says all that it knows to be committed, answers for
        // how old a follower's state is.
        let answers =
            tells_all_commits && self.is_established(core) && self.lease_until(core, core.now).is_some();
        LeaderStamp {
            sent_at: core.now,
            read_round: self.reads.round(),
            cluster_time: core.clock.read(core.now).max(core.log.last_time()),
            answering: progress.responded_at.filter(|_| answers),
            leads_since: self.elected_at,
            elected_with: self.elected_with,
            acknowledged: core.acknowledged_by(to, progress),
        }
    }
}
