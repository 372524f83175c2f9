//! The real replica on simulated disk, network and clock, with fault injection and checkers.

pub mod linearizability;
