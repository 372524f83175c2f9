//! Watches: who is told what of which change.
//!
//! The [`hub`] reads every change once, as it is published, and marks the streams that have a watch on its key;
//! [`stream`] is one of them. A stream that is marked matches the changes against its own watches and tells its caller.
//! It finds the latest ones in the hub's [`window`], where all streams share them ([`change`]); behind that, it
//! reads the store's history. So a watch costs nothing while nothing happens to its keys, and a stream whose caller
//! is slow holds one batch and a position, not a queue.

mod batch;
pub(crate) mod change;
pub(crate) mod hub;
mod index;
pub(crate) mod range;
pub(crate) mod stream;
pub(crate) mod watcher;
mod window;
