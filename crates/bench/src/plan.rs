//! What is to be run.

use std::path::PathBuf;

use crate::load::{Load, Settings};
use crate::programs::Programs;
use crate::system::System;

/// What is to be run, on which systems, and how often.
pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) loads: Vec<Box<dyn Load>>,
    pub(crate) rounds: u32,
    pub(crate) settings: Settings,
    pub(crate) programs: Programs,
    /// Where data directories are made.
    pub(crate) scratch: PathBuf,
    pub(crate) base_port: u16,
}
