//! What must hold after every step of every node, watched from outside: on the wire and in the replicas.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ruvector_node::replica::Replica;
use ruvector_protocol::{
    Entry, Envelope, Index, LogPosition, Message, NodeId, Origin, Payload, RoleName, Term,
};
use ruvector_state_machine::kv::KvMachine;

use crate::violation::{Violation, ensure};

/// What is known of all nodes together.
#[derive(Debug, Default)]
pub struct Invariants {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), Vote>,
    /// Every entry that any leader sent, with the term of the one before it.
    sent: HashMap<LogPosition, SentEntry>,
    /// The entries that some node committed, from index 1 on.
    committed: Vec<Option<CommittedEntry>>,
    /// Whose commands were committed.
    origins: HashSet<Origin>,
    /// How many commands were committed again.
    repeated: u64,
    /// The state after each index, as the first node that was there had it.
    states: HashMap<Index, (u128, NodeId)>,
    /// What each running node was last seen at.
    seen: BTreeMap<NodeId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    candidate: NodeId,
    /// The voter's disk was replaced since.
    voter_forgot: bool,
    /// The candidate's was.
    candidate_forgot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SentEntry {
    digest: u64,
    previous: Term,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommittedEntry {
    term: Term,
    digest: u64,
}

impl CommittedEntry {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { term: entry.term, digest: digest(entry) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    term: Term,
    commit: Index,
    applied: Index,
    led: Option<Term>,
    /// Committed entries up to here were compared.
    compared: Index,
}

impl Invariants {
    /// A node starts: what it was last seen at does not bind it.
    pub fn forget(&mut self, node: NodeId) {
        self.seen.remove(&node);
    }

    /// A node has lost its disk, and with it the votes that it gave, and that it stood for election.
    pub fn forget_votes(&mut self, node: NodeId) {
        for ((voter, _), vote) in &mut self.votes {
            vote.voter_forgot |= *voter == node;
            vote.candidate_forgot |= vote.candidate == node;
        }
    }

    /// How many terms had a leader.
    #[must_use]
    pub fn leader_count(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// How many entries were committed.
    #[must_use]
    pub fn committed_count(&self) -> u64 {
        self.committed.len() as u64
    }

    /// What was committed, from index 1 on, as far as anybody's log held it.
    pub(crate) fn committed_entries(&self) -> Vec<Option<CommittedEntry>> {
        self.committed.clone()
    }

    /// How many commands were committed that had been committed before.
    #[must_use]
    pub fn repeated_count(&self) -> u64 {
        self.repeated
    }

    /// A core's message leaves a node.
    ///
    /// # Errors
    /// If it shows a second vote, a second leader, or an entry that differs from one of equal position.
    pub fn watch(&mut self, envelope: &Envelope) -> Result<(), Violation> {
        let (node, term) = (envelope.from, envelope.term);
        match &envelope.message {
            Message::VoteRequest(_) => self.voted(node, term, node),
            Message::VoteResponse(response) if response.granted => self.voted(node, term, envelope.to),
            Message::Heartbeat(_) => self.leads(node, term),
            Message::AppendRequest(request) => {
                self.leads(node, term)?;
                let mut previous = request.previous.term;
                for entry in &request.entries {
                    self.sent(entry, previous)?;
                    previous = entry.term;
                }
                Ok(())
            }
            Message::VoteResponse(_)
            | Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::AppendResponse(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_)
            | Message::IntroductionRequest(_)
            | Message::IntroductionResponse(_) => Ok(()),
        }
    }

    /// A node has taken a step. Returns whether it was elected by it.
    ///
    /// # Errors
    /// If its state contradicts another's, or its own of before.
    pub fn inspect(&mut self, node: NodeId, replica: &Replica<KvMachine>) -> Result<bool, Violation> {
        let raft = replica.raft();
        let applied = replica.applied();
        let mut seen = self.seen.get(&node).copied().unwrap_or_default();
        ensure!(
            raft.term() >= seen.term && raft.commit() >= seen.commit && applied.index >= seen.applied,
            Monotonicity,
            "node {node} was at {seen:?} and is at term {}, commit {}, applied {}",
            raft.term(),
            raft.commit(),
            applied.index
        );
        ensure!(
            applied.index <= raft.commit(),
            CommittedEntriesStay,
            "node {node} applied {} and committed only {}",
            applied.index,
            raft.commit()
        );
        let is_new_leader = raft.leader() == Some(node) && seen.led != Some(raft.term());
        if is_new_leader {
            seen.led = Some(raft.term());
            self.leads(node, raft.term())?;
            self.leader_is_complete(node, replica)?;
        }
        if raft.commit() > seen.compared {
            seen.compared = self.compare_committed(node, replica, seen.compared)?;
        }
        if applied.index > seen.applied {
            self.compare_state(node, replica)?;
        }
        seen.term = raft.term();
        seen.commit = raft.commit();
        seen.applied = applied.index;
        self.seen.insert(node, seen);
        Ok(is_new_leader)
    }

    /// A second vote in a term is wrong, unless nobody is left who knows of the first.
    fn voted(&mut self, node: NodeId, term: Term, candidate: NodeId) -> Result<(), Violation> {
        let vote = Vote { candidate, voter_forgot: false, candidate_forgot: false };
        let first = self.votes.entry((node, term)).or_insert(vote);
        if first.voter_forgot && first.candidate_forgot {
            *first = vote;
        }
        ensure!(
            first.candidate == candidate,
            OneVotePerTerm,
            "in term {term} node {node} voted for {} and for {candidate}",
            first.candidate
        );
        Ok(())
    }

    fn leads(&mut self, node: NodeId, term: Term) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(node);
        ensure!(first == node, ElectionSafety, "both {first} and {node} lead in term {term}");
        Ok(())
    }

    fn sent(&mut self, entry: &Entry, previous: Term) -> Result<(), Violation> {
        let sent = SentEntry { digest: digest(entry), previous };
        let first = *self.sent.entry(entry.position()).or_insert(sent);
        ensure!(
            first == sent,
            LogMatching,
            "two different entries, or one behind two different ones, at {:?}: {entry:?}",
            entry.position()
        );
        Ok(())
    }

    /// The last committed entry is enough: log matching takes care of those before it.
    fn leader_is_complete(&self, node: NodeId, replica: &Replica<KvMachine>) -> Result<(), Violation> {
        let last = self.committed.iter().rposition(Option::is_some);
        let Some((place, committed)) = last.and_then(|place| Some((place, self.committed[place]?))) else {
            return Ok(());
        };
        let index = Index(place as u64 + 1);
        let term = replica.raft().term();
        if index < replica.first_index() || committed.term >= term {
            return Ok(());
        }
        let Some(entries) = read_log(replica, index, index) else { return Ok(()) };
        let held = entries.first().map(|entry| entry.term);
        ensure!(
            held == Some(committed.term),
            LeaderCompleteness,
            "node {node} leads term {term} with an entry of term {held:?} at index {index}, where one of term \
             {} was committed",
            committed.term
        );
        Ok(())
    }

    /// Compares what a node has committed since it was last looked at, as far as its log holds it.
    fn compare_committed(
        &mut self,
        node: NodeId,
        replica: &Replica<KvMachine>,
        compared: Index,
    ) -> Result<Index, Violation> {
        let commit = replica.raft().commit();
        let from = compared.next().max(replica.first_index());
        if from > commit {
            return Ok(commit);
        }
        let Some(entries) = read_log(replica, from, commit) else { return Ok(commit) };
        let mut last = from.previous().unwrap_or_default();
        for entry in entries {
            last = entry.index;
            let place = usize::try_from(entry.index.0 - 1).expect("a simulated log is small");
            if self.committed.len() <= place {
                self.committed.resize(place + 1, None);
            }
            let own = CommittedEntry::of(&entry);
            let first = match self.committed[place] {
                Some(first) => first,
                None => self.first_committed(place, own, &entry),
            };
            ensure!(
                first == own,
                CommittedEntriesStay,
                "index {} was committed with term {} and by node {node} with term {}: {entry:?}",
                entry.index,
                first.term,
                own.term
            );
        }
        Ok(last)
    }

    fn first_committed(&mut self, place: usize, own: CommittedEntry, entry: &Entry) -> CommittedEntry {
        self.committed[place] = Some(own);
        if let Payload::Command(proposal) = &entry.payload {
            self.repeated += u64::from(!self.origins.insert(proposal.origin));
        }
        own
    }

    fn compare_state(&mut self, node: NodeId, replica: &Replica<KvMachine>) -> Result<(), Violation> {
        let index = replica.applied().index;
        let own = replica.state_hash();
        let (first, by) = *self.states.entry(index).or_insert((own, node));
        ensure!(
            first == own,
            StateAgreement,
            "after index {index} node {by} had state {first:032x}, node {node} has {own:032x}"
        );
        Ok(())
    }

    /// Whether this node was last seen leading its present term.
    #[must_use]
    pub fn is_leader(replica: &Replica<KvMachine>) -> bool {
        replica.raft().role() == RoleName::Leader
    }
}

/// What the log holds of a range; `None` if it can't be read because it is damaged.
pub(crate) fn read_log(replica: &Replica<KvMachine>, from: Index, through: Index) -> Option<Vec<Entry>> {
    replica.log_entries(from, through, usize::MAX).ok()
}

fn digest(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.position(), entry.time).hash(&mut hasher);
    match &entry.payload {
        Payload::Noop => 0.hash(&mut hasher),
        Payload::Tick => 1.hash(&mut hasher),
        Payload::Command(proposal) => (2, proposal.origin, &proposal.command).hash(&mut hasher),
    }
    hasher.finish()
}
