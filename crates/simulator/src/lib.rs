//! The real replica on simulated disk, network and clock, with fault injection and checkers.
//!
//! [`simulate`] runs one seed: a [`World`](world::World) of nodes, clients and faults, drawn from the seed by
//! [`Scenario`](scenario::Scenario). What a node does is in `turns`, what goes wrong in [`faults`], what
//! clients do in [`clients`] and `sessions`, and the course of it all in `finale`; many worlds end
//! with [disks that are rolled back](rollback). Three judges watch: [`invariants`] after
//! every step, [`history`] and [`events`] at every answer, and [`linearizability`] at the end.
//!
//! The same seed gives the same simulation, event by event, on every machine.
//!
//! What this crate does not do: it has no copy of any of the system's logic, and no real time, file or socket.

mod ambush;
pub mod campaign;
mod catch_up_trap;
pub mod clients;
pub mod clock;
pub mod encoding;
pub mod events;
pub mod faults;
mod finale;
pub mod history;
pub mod invariants;
mod judges;
pub mod linearizability;
pub mod marks;
pub mod network;
pub mod node;
mod planted;
pub mod planted_disk;
pub mod pool;
pub mod random;
mod requests;
pub mod rollback;
pub mod scenario;
mod sessions;
mod settings;
mod side_groups;
pub mod simulation;
pub mod statistics;
pub mod trace;
pub mod traps;
mod turns;
pub mod violation;
pub mod watchers;
pub mod workload;
pub mod world;

pub use marks::Marks;
pub use planted::PlantedBug;
pub use simulation::{Options, Outcome, simulate};
pub use statistics::Statistics;
pub use violation::{Rule, Violation};
