//! The key-value machine with etcd's semantics.

pub mod command;
pub mod machine;
pub mod view;

pub use command::*;
pub use machine::KvMachine;
pub use view::{Event, EventKind, KvView, LeaseInfo};
