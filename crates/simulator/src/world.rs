//! Everything that there is in a simulation, and the queue of what happens next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ruvector_node::replica::{Event, JobDone, PeerMessage, ReadGrant, Replica, SnapshotJob, Ticket};
use ruvector_node::{FlushJob, Flushed};
use ruvector_protocol::{GroupId, Membership, NodeId};
use ruvector_state_machine::kv::{KvMachine, Retention};
use ruvector_storage::disk::simulated::SimulatedDisk;

use crate::catch_up_trap::CatchUpTrap;
use crate::clients::Client;
use crate::clock::NodeClock;
use crate::events::EventLog;
use crate::history::History;
use crate::invariants::Invariants;
use crate::marks::Marks;
use crate::network::Network;
use crate::node::{ClusterSettings, Host, Process};
use crate::planted::PlantedBug;
use crate::random::Random;
use crate::rollback::LastAct;
use crate::scenario::Scenario;
use crate::sessions::SessionUse;
use crate::side_groups::{self, SideGroup};
use crate::statistics::Statistics;
use crate::trace::{Place, Trace};
use crate::traps::{Chase, PowerTrap, VoteTrap};
use crate::violation::Violation;
use crate::watchers::Watcher;
use crate::workload::Freshness;

/// A cluster, its clients, its faults and its judges.
#[derive(Debug)]
pub struct World {
    pub(crate) now_us: u64,
    pub(crate) random: Random,
    /// Chance in what clients do in sessions, so that a world without any is not another one for it.
    pub(crate) session_random: Random,
    /// Chance in what nodes are set to, for the same reason.
    pub(crate) settings_random: Random,
    /// Chance in whether jobs come to their end, for the same reason.
    pub(crate) work_random: Random,
    /// Chance in the groups beside, for the same reason.
    pub(crate) groups_random: Random,
    pub(crate) scenario: Scenario,
    pub(crate) cluster: ClusterSettings,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) history: History,
    pub(crate) events: EventLog,
    pub(crate) invariants: Invariants,
    /// The groups beside the one that the clients use.
    pub(crate) sides: BTreeMap<GroupId, SideGroup>,
    pub(crate) statistics: Statistics,
    pub(crate) marks: Marks,
    pub(crate) trace: Trace,
    pub(crate) power_trap: Option<PowerTrap>,
    pub(crate) vote_trap: Option<VoteTrap>,
    pub(crate) chase: Option<Chase>,
    pub(crate) catch_up_trap: Option<CatchUpTrap>,
    /// Copies of all disks, for them to be rolled back to.
    pub(crate) disk_copies: Vec<SimulatedDisk>,
    /// Disks were rolled back.
    pub(crate) last_act: Option<LastAct>,
    /// Faults happen.
    pub(crate) stormy: bool,
    /// Clients begin new operations.
    pub(crate) clients_work: bool,
    /// The newest number given to something that a client waits for, to a value and to a lease.
    pub(crate) last_number: u64,
    /// How often clients asked for a session.
    pub(crate) sessions_asked: u64,
    /// Somebody has wanted less history to be kept than all, so that any of it may be compacted without having been named.
    pub(crate) retention_asked: bool,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

/// Makes the chance of sessions another one than that of everything else. The seeds that tests keep have no sessions by
/// it, and are the worlds that they were before there were any.
const SESSION_SEED: u64 = 19;
/// The same for how leaders gather proposals: by it they don't in those seeds.
const GATHER_SEED: u64 = 3 << 32;
/// The same for whether nodes are set alike: by it they are in those seeds.
const SETTINGS_SEED: u64 = 5 << 32;
/// The same for what work costs beside the log, and whether it is done.
const WORK_SEED: u64 = 11 << 32;
/// The same for what bounds the store.
const LIMITS_SEED: u64 = 7 << 32;
/// The same for the groups beside.
const GROUPS_SEED: u64 = 17 << 32;
/// The same for whether and how disks are rolled back.
const ROLLBACK_SEED: u64 = 13 << 32;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A message arrives.
    Arrive(PeerMessage),
    /// A node learns that a connection to a peer broke.
    LosePeer { node: usize, peer: NodeId },
    /// Something within a life of a node.
    Due { node: usize, life: u64, due: Due },
    /// A node is started.
    Start(usize),
    /// A client has thought enough.
    Act(usize),
    /// A client of a group beside has thought enough.
    ActAside(GroupId),
    /// A client sends a write again that it has under way.
    SendAgain(usize),
    /// A client has waited long enough for what it asked for by this ticket.
    LosePatience { client: usize, ticket: Ticket },
    /// A watcher looks what is new.
    Look(usize),
    /// The next fault.
    Fault,
    /// A client asks a node to read that may no longer lead, or no longer follow the newest leader.
    Tempt { node: usize, level: Freshness },
    /// See [`World::defect`].
    Defect { leader: usize, companion: usize, until_us: u64 },
    /// See [`World::forget_in_trap`].
    Forget,
    /// See [`World::prepare_ambush`].
    Ambush { leader: usize, candidate: usize },
    /// A fault ends.
    Relieve(Relief),
    /// An operator has less history kept, or more.
    Retain(Retention),
    /// Links are cut.
    Cut(Vec<(usize, usize)>),
}

/// What comes to a node from outside.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Something for one of its groups.
    Event(GroupId, Event),
    /// A connection broke, which concerns all of them.
    PeerLost(NodeId),
}

/// Something that a running node has planned.
#[derive(Debug)]
pub(crate) enum Due {
    /// Its deadline, as it was when this was planned.
    Wake { planned_us: u64 },
    /// What came while it was paused.
    Take(Arrival),
    /// Its disk is done syncing, for which the node has waited but for what arrived.
    Flush,
    /// A thread beside it has written and synced the log.
    FlushBeside {
        job: FlushJob,
        /// How long it takes until the node comes to know of it.
        told_after_us: u64,
    },
    /// The node comes to know what a thread beside it has done.
    Flushed(Flushed),
    /// Its next turn of applying.
    Apply,
    /// Its background thread is done.
    Job(GroupId, SnapshotJob<KvMachine>),
    /// A client's thread makes a read that was granted.
    Read { ticket: Ticket, grant: ReadGrant, granted_us: u64 },
}

/// The end of a fault.
#[derive(Debug)]
pub(crate) enum Relief {
    /// Links work again.
    Links(Vec<(usize, usize)>),
    /// Links are as fast as before.
    Slowness(Vec<(usize, usize)>),
    /// A disk is fast and has room again.
    Disk(usize),
}

#[derive(Debug)]
struct Planned {
    at_us: u64,
    /// Of what happens at the same time, what was planned first happens first.
    number: u64,
    happening: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

impl World {
    /// The world that a seed stands for, with nothing started yet.
    #[must_use]
    pub fn new(seed: u64, planted_bug: Option<PlantedBug>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let mut session_random = Random::new(seed ^ SESSION_SEED);
        let mut gather_random = Random::new(seed ^ GATHER_SEED);
        let mut settings_random = Random::new(seed ^ SETTINGS_SEED);
        let mut limits_random = Random::new(seed ^ LIMITS_SEED);
        let mut rollback_random = Random::new(seed ^ ROLLBACK_SEED);
        let mut scenario = Scenario::draw(
            &mut random,
            &mut session_random,
            &mut gather_random,
            &mut settings_random,
            &mut limits_random,
            &mut rollback_random,
        );
        let mut work_random = Random::new(seed ^ WORK_SEED);
        scenario.draw_work(&mut work_random);
        let mut groups_random = Random::new(seed ^ GROUPS_SEED);
        let beside = side_groups::draw(&scenario, &mut groups_random);
        let sides = beside.iter().map(|(group, members)| (*group, SideGroup::new(members))).collect();
        let voters = (1..=scenario.nodes as u64).map(NodeId).collect();
        let drift_ppm = scenario.tuning.clock_drift_ppm;
        let hosts: Vec<Host> = (1..=scenario.nodes as u64)
            .map(|id| Host::new(NodeId(id), NodeClock::new(drift_ppm, &mut random), scenario.tuning.clone()))
            .collect();
        let session = |client| (client < scenario.sessions.clients).then(SessionUse::default);
        let clients = (0..scenario.workload.clients).map(|client| Client::new(session(client))).collect();
        let watchers = scenario.watcher_paces_us.iter().map(|pace_us| Watcher::new(*pace_us)).collect();
        let mut world = Self {
            now_us: 0,
            cluster: ClusterSettings {
                groups: std::iter::once((GroupId::METADATA, Membership { voters })).chain(beside).collect(),
                planted_bug,
                limits: scenario.limits,
            },
            hosts,
            network: Network::new(scenario.network),
            clients,
            watchers,
            history: History::default(),
            events: EventLog::default(),
            invariants: Invariants::default(),
            sides,
            statistics: Statistics::default(),
            marks: Marks::default(),
            trace: Trace::new(traced),
            power_trap: None,
            vote_trap: None,
            chase: None,
            catch_up_trap: None,
            disk_copies: Vec::new(),
            last_act: None,
            stormy: true,
            clients_work: true,
            last_number: 0,
            sessions_asked: 0,
            retention_asked: false,
            queue: BinaryHeap::new(),
            planned: 0,
            random,
            session_random,
            settings_random,
            work_random,
            groups_random,
            scenario,
        };
        world.trace.remark(0, Place::World, || format!("{:#?}", world.scenario));
        world.plan_beginning();
        world
    }

    fn plan_beginning(&mut self) {
        for node in 0..self.hosts.len() {
            let at_us = self.random.between(0, 50_000);
            self.plan(at_us, Happening::Start(node));
        }
        for client in 0..self.clients.len() {
            let at_us = self.random.between(0, 200_000);
            self.plan(at_us, Happening::Act(client));
        }
        for group in self.sides.keys().copied().collect::<Vec<_>>() {
            let at_us = self.groups_random.between(0, 200_000);
            self.plan(at_us, Happening::ActAside(group));
        }
        for watcher in 0..self.watchers.len() {
            self.plan(0, Happening::Look(watcher));
        }
        for (place, retention) in (1..).zip(self.scenario.retentions.clone()) {
            self.plan(self.scenario.fault_phase_us / 5 * place, Happening::Retain(retention));
        }
        self.plan_fault();
    }

    /// Plans something for a time that is not past.
    pub(crate) fn plan(&mut self, at_us: u64, happening: Happening) {
        assert!(at_us >= self.now_us, "{happening:?} is planned for the past");
        self.planned += 1;
        self.queue.push(Reverse(Planned { at_us, number: self.planned, happening }));
    }

    /// Plans something within a node's present life.
    pub(crate) fn plan_due(&mut self, at_us: u64, node: usize, due: Due) {
        let life = self.hosts[node].life;
        self.plan(at_us, Happening::Due { node, life, due });
    }

    fn plan_fault(&mut self) {
        let mean_us = self.scenario.fault_interval_us;
        let at_us = self.now_us + self.random.between(mean_us / 4, mean_us * 2);
        self.plan(at_us, Happening::Fault);
    }

    /// Lets everything happen up to a time.
    ///
    /// # Errors
    /// The first violation that a judge sees.
    pub(crate) fn run_until(&mut self, until_us: u64) -> Result<(), Violation> {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at_us <= until_us
        {
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now_us = next.at_us;
            self.happen(next.happening)?;
        }
        self.now_us = until_us;
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Arrive(message) => {
                let node = place_of(message.to());
                self.arrive(node, Arrival::Event(message.group(), Event::Message(message)))
            }
            Happening::LosePeer { node, peer } => self.arrive(node, Arrival::PeerLost(peer)),
            Happening::Due { node, life, due } if self.hosts[node].life == life => self.due(node, due),
            Happening::Due { .. } => Ok(()),
            Happening::Start(node) => self.start(node),
            Happening::Act(client) => self.act(client),
            Happening::ActAside(group) => self.act_aside(group),
            Happening::SendAgain(client) => self.send_again(client),
            Happening::LosePatience { client, ticket } => self.lose_patience(client, ticket),
            Happening::Look(_) if self.last_act.is_some() => Ok(()),
            Happening::Look(watcher) => self.look(watcher),
            Happening::Fault => self.next_fault(),
            Happening::Retain(retention) => self.retain(retention),
            Happening::Tempt { node, level } => self.tempt(node, level),
            Happening::Defect { leader, companion, until_us } => {
                self.defect(leader, companion, until_us);
                Ok(())
            }
            Happening::Forget => {
                self.forget_in_trap();
                Ok(())
            }
            Happening::Ambush { leader, candidate } => {
                self.ambush(leader, candidate);
                Ok(())
            }
            Happening::Relieve(relief) => {
                self.relieve(relief);
                Ok(())
            }
            Happening::Cut(links) => {
                if self.stormy {
                    self.network.cut(&links);
                }
                Ok(())
            }
        }
    }

    fn next_fault(&mut self) -> Result<(), Violation> {
        if !self.stormy {
            return Ok(());
        }
        let Some(kind) = self.random.pick(&self.scenario.faults).copied() else { return Ok(()) };
        self.inflict(kind)?;
        self.plan_fault();
        Ok(())
    }

    fn relieve(&mut self, relief: Relief) {
        // When the storm is over everything was relieved at once.
        if !self.stormy {
            return;
        }
        match relief {
            Relief::Links(links) => self.network.mend(&links),
            Relief::Slowness(links) => self.network.hasten(&links),
            Relief::Disk(node) => {
                self.hosts[node].disk.set_space_limit(None);
                self.hosts[node].sync_slowdown = 1;
            }
        }
    }

    /// Ends all faults and starts every node that can be started.
    pub(crate) fn calm(&mut self) {
        self.trace.record(self.now_us, Place::World, "calm", || "all faults end".to_owned());
        self.stormy = false;
        self.power_trap = None;
        self.vote_trap = None;
        self.chase = None;
        self.catch_up_trap = None;
        self.network.heal();
        for node in 0..self.hosts.len() {
            self.hosts[node].heal();
            if self.hosts[node].process.is_none() {
                self.plan(self.now_us, Happening::Start(node));
            }
        }
    }

    /// A node's replica, if it runs.
    pub(crate) fn replica(&self, node: usize) -> Option<&Replica<KvMachine>> {
        self.hosts[node].process.as_ref().map(Process::replica)
    }

    /// Whether a node thinks that it leads.
    pub(crate) fn leads(&self, node: usize) -> bool {
        self.replica(node).is_some_and(|replica| replica.raft().leader() == Some(self.hosts[node].id))
    }

    pub(crate) fn election_timeout_us(&self) -> u64 {
        self.scenario.tuning.election_timeout_ms * 1000
    }

    /// A number that was not given before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// Where a node is in the list of hosts.
pub(crate) fn place_of(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("a simulated cluster is small")
}

/// What a finished job is called in a trace.
pub(crate) fn describe_job(done: &JobDone) -> String {
    match done {
        JobDone::Written { result, .. } => format!("wrote a snapshot: {result:?}"),
        JobDone::Completed { from, result, .. } => format!("received a snapshot of {from}: {result:?}"),
        JobDone::Verified { name, verdict } => format!("read snapshot {name}: {verdict:?}"),
    }
}
