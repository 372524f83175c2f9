//! Real nodes in network namespaces, broken on purpose under load, and judged.
//!
//! [`run`] starts three nodes, each a process in a network namespace of its own with a small disk of its own
//! ([`cluster`]), lets clients write and read all the time ([`load`]), and brings one [`fault`] after the other.
//! Between two faults everything is healed and must work again. Judges hold what clients saw against a register
//! ([`history`], with the simulator's checker), watches against their guarantees ([`watch`]), and the nodes' states
//! against each other ([`agreement`]).
//!
//! All traffic stays within the namespaces: the machine's own network has no part in it. It needs root and the
//! program `ip`; [`requirements::obstacle`] tells what is not there.
//!
//! What this crate does not do: nothing here is repeatable to the letter, since real processes take turns as they
//! like. The seed only fixes which faults come. For runs that repeat exactly there is the simulator.

pub mod agreement;
pub mod cluster;
mod command;
pub mod disk;
pub mod fault;
mod figures;
pub mod group;
pub mod history;
pub mod key;
mod leftovers;
pub mod load;
pub mod network;
mod node;
pub mod patience;
pub mod report;
pub mod requirements;
mod run;
pub mod watch;

pub use report::Report;
pub use run::{Options, run};
