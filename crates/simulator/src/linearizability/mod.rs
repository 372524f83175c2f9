//! Is a history of operations on one key linearizable?
//!
//! [`check`] takes the [`Operation`]s of one key: when each was invoked, when it was answered if it was, and
//! what its answer revealed. It looks for one order of the operations, compatible with real time, that
//! explains every answer (Herlihy and Wing 1990). Keys are checked one by one, which is enough because
//! linearizability is local (theorem 1 there). An operation whose outcome is unknown may take effect at any
//! time after its invocation, or never.

pub mod model;
pub mod search;

pub use model::{Action, Completion, Lease, Observation, Operation, Register, Value};
pub use search::{Verdict, Violation, check};
