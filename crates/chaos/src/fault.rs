//! What goes wrong, and how it is put right.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use ruvector_simulator::random::Random;

use crate::cluster::Cluster;
use crate::network::Place;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// A node is killed and started again.
    KillOne,
    /// All nodes are killed and started again.
    KillAll,
    /// A node's process is stopped past lease and election timeout, then goes on.
    Pause,
    /// A node's link is down.
    Isolation,
    /// A node hears and reaches its clients but no peer.
    CutFromPeers,
    /// What one node sends to another is lost.
    OneWayCut,
    /// Two nodes lose each other and both reach the third.
    PartialPartition,
    /// A node's link goes down and up again and again.
    Flapping,
    /// A node's disk is full.
    FullDisk,
    /// A node's disk takes writes and fails to sync them.
    FailedSync,
}

/// A fault and whom it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// See [`Kind::KillOne`].
    KillOne(Place),
    /// See [`Kind::KillAll`].
    KillAll,
    /// See [`Kind::Pause`].
    Pause(Place),
    /// See [`Kind::Isolation`].
    Isolation(Place),
    /// See [`Kind::CutFromPeers`].
    CutFromPeers(Place),
    /// See [`Kind::OneWayCut`].
    OneWayCut {
        /// Whose messages are lost.
        from: Place,
        /// Who would receive them.
        to: Place,
    },
    /// See [`Kind::PartialPartition`].
    PartialPartition(Place, Place),
    /// See [`Kind::Flapping`].
    Flapping(Place),
    /// See [`Kind::FullDisk`].
    FullDisk(Place),
    /// See [`Kind::FailedSync`].
    FailedSync(Place),
}

/// How often a flapping link goes down.
const FLAPS: usize = 8;
/// How long it is down, and up, each time: around the election timeout.
const FLAP_TIME: Duration = Duration::from_millis(250);

impl Fault {
    /// Draws whom a fault befalls: the leader, as often as all others together.
    pub fn draw(kind: Kind, leader: Option<Place>, random: &mut Random) -> Self {
        let nodes: Vec<Place> = Place::all().collect();
        let drawn = nodes[random.index(nodes.len())];
        let victim = leader.filter(|_| random.chance(500)).unwrap_or(drawn);
        let others: Vec<Place> = victim.others().collect();
        let other = others[random.index(others.len())];
        match kind {
            Kind::KillOne => Self::KillOne(victim),
            Kind::KillAll => Self::KillAll,
            Kind::Pause => Self::Pause(victim),
            Kind::Isolation => Self::Isolation(victim),
            Kind::CutFromPeers => Self::CutFromPeers(victim),
            Kind::OneWayCut if random.chance(500) => Self::OneWayCut { from: victim, to: other },
            Kind::OneWayCut => Self::OneWayCut { from: other, to: victim },
            Kind::PartialPartition => Self::PartialPartition(victim, other),
            Kind::Flapping => Self::Flapping(victim),
            Kind::FullDisk => Self::FullDisk(victim),
            Kind::FailedSync => Self::FailedSync(victim),
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::KillOne(_) => Kind::KillOne,
            Self::KillAll => Kind::KillAll,
            Self::Pause(_) => Kind::Pause,
            Self::Isolation(_) => Kind::Isolation,
            Self::CutFromPeers(_) => Kind::CutFromPeers,
            Self::OneWayCut { .. } => Kind::OneWayCut,
            Self::PartialPartition(..) => Kind::PartialPartition,
            Self::Flapping(_) => Kind::Flapping,
            Self::FullDisk(_) => Kind::FullDisk,
            Self::FailedSync(_) => Kind::FailedSync,
        }
    }

    /// Whether, while it lasts, a majority of the nodes runs and each of it reaches each other: then the cluster
    /// must go on.
    #[must_use]
    pub fn leaves_majority(self) -> bool {
        self != Self::KillAll
    }

    /// Makes it happen. Gives what the victim did wrong about it.
    ///
    /// # Errors
    /// If it can't be made to happen.
    pub fn inject(self, cluster: &mut Cluster) -> Result<Vec<String>> {
        match self {
            Self::KillOne(place) => cluster.kill(&[place])?,
            Self::KillAll => cluster.kill(&Place::all().collect::<Vec<_>>())?,
            Self::Pause(place) => cluster.pause(place)?,
            Self::Isolation(place) => cluster.network.unplug(place)?,
            Self::CutFromPeers(place) => {
                place.others().try_for_each(|other| cut_both_ways(cluster, place, other))?;
            }
            Self::OneWayCut { from, to } => cluster.network.cut(from, to)?,
            Self::PartialPartition(one, other) => cut_both_ways(cluster, one, other)?,
            Self::Flapping(place) => flap(cluster, place)?,
            Self::FullDisk(place) => {
                cluster.fill_disk(place)?;
                // `ENOSPC`.
                return expect_end(cluster, place, &["(os error 28)"]);
            }
            Self::FailedSync(place) => {
                cluster.break_disk(place)?;
                // A sync, or a direct write to the log, fails with whatever the device fails with; a write after it with `EIO`.
                let reasons = ["the node stops: syncing", "the node stops: writing log/", "(os error 5)"];
                return expect_end(cluster, place, &reasons);
            }
        }
        Ok(Vec::new())
    }

    /// Puts it right.
    ///
    /// # Errors
    /// If it can't be put right.
    pub fn heal(self, cluster: &mut Cluster) -> Result<()> {
        match self {
            Self::KillOne(_) | Self::KillAll => cluster.start_missing(),
            Self::Pause(place) => cluster.resume(place),
            Self::Isolation(place) | Self::Flapping(place) => cluster.network.plug(place),
            Self::CutFromPeers(place) => {
                place.others().try_for_each(|other| join_both_ways(cluster, place, other))
            }
            Self::OneWayCut { from, to } => cluster.network.join(from, to),
            Self::PartialPartition(one, other) => join_both_ways(cluster, one, other),
            Self::FullDisk(place) => {
                cluster.kill(&[place])?;
                cluster.free_disk(place)?;
                cluster.start_missing()
            }
            Self::FailedSync(place) => {
                cluster.kill(&[place])?;
                cluster.repair_disk(place)?;
                cluster.start_missing()
            }
        }
    }
}

fn cut_both_ways(cluster: &Cluster, one: Place, other: Place) -> Result<()> {
    cluster.network.cut(one, other)?;
    cluster.network.cut(other, one)
}

fn join_both_ways(cluster: &Cluster, one: Place, other: Place) -> Result<()> {
    cluster.network.join(one, other)?;
    cluster.network.join(other, one)
}

fn flap(cluster: &Cluster, place: Place) -> Result<()> {
    for _ in 0..FLAPS {
        cluster.network.unplug(place)?;
        std::thread::sleep(FLAP_TIME);
        cluster.network.plug(place)?;
        std::thread::sleep(FLAP_TIME);
    }
    Ok(())
}

/// A node whose disk fails must stop, and say why in one of these words.
fn expect_end(cluster: &mut Cluster, place: Place, reasons: &[&str]) -> Result<Vec<String>> {
    let said =
        |cluster: &Cluster| reasons.iter().map(|words| cluster.count_said(place, words)).sum::<usize>();
    let before = said(cluster);
    if !cluster.press_until_end(place)? {
        return Ok(vec![format!("disk: {place} goes on although its disk fails")]);
    }
    if said(cluster) == before {
        return Ok(vec![format!("disk: {place} has stopped without saying any of {reasons:?}")]);
    }
    Ok(Vec::new())
}

impl Kind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillOne(place) => write!(formatter, "kill -9 of {place}"),
            Self::KillAll => write!(formatter, "kill -9 of all nodes"),
            Self::Pause(place) => write!(formatter, "{place} is paused"),
            Self::Isolation(place) => write!(formatter, "{place} is off the network"),
            Self::CutFromPeers(place) => write!(formatter, "{place} is cut from its peers, not from clients"),
            Self::OneWayCut { from, to } => write!(formatter, "nothing from {from} reaches {to}"),
            Self::PartialPartition(one, other) => {
                write!(formatter, "{one} and {other} lose each other, both reach the third")
            }
            Self::Flapping(place) => write!(formatter, "the link of {place} flaps"),
            Self::FullDisk(place) => write!(formatter, "the disk of {place} is full"),
            Self::FailedSync(place) => write!(formatter, "the disk of {place} fails to sync"),
        }
    }
}
