//! Snapshots on their way between peers.

pub(super) mod receiver;
pub(super) mod sender;
