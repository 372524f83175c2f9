//! The service: what a node does for whoever asks, in its own types and whatever the protocol.
//!
//! The protocols translate: each makes a request of what came, asks a [`Caller`](caller::Caller) for it, and makes an
//! answer of what that says. Nothing here knows what comes over the wire. `cargo xtask tidy` checks that.
//!
//! | what | where |
//! |---|---|
//! | ranges, reading transactions, reads at a version | [`read`], with the size of answers in [`measured`] |
//! | puts, deletions, transactions, compaction | [`write`](mod@write) |
//! | writes in the sessions of native clients | [`sessions`] |
//! | leases | [`leases`]; many [`renewals`] are one command |
//! | watches | [`watch`] |
//! | the node itself | [`administration`] |
//!
//! A [`Caller`](caller::Caller) is who asks, of which group, on whose account of the budget. Every operation asks the
//! caller's [`Principal`](principal::Principal) once whether it may, before it does or tells anything. What goes
//! wrong is a [`ServiceError`](error::ServiceError).
//!
//! What this module does not do: it refuses no request for its form on the wire, and counts no calls.

pub(crate) mod administration;
pub(crate) mod caller;
pub(crate) mod context;
pub(crate) mod counters;
pub(crate) mod error;
pub(crate) mod leases;
pub(crate) mod measured;
pub(crate) mod principal;
pub(crate) mod read;
pub(crate) mod renewals;
pub(crate) mod sessions;
pub(crate) mod watch;
pub(crate) mod write;
