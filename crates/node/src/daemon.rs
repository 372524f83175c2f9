//! What a server on top of a node needs, and a program that embeds one does not.
//!
//! [`Handle::server_side`](crate::Handle::server_side) gives a group's [`ServerSide`]. It takes [batches](Batch)
//! whose answers come by a channel of tokio, tells of new versions, carries many answers at once into a runtime of
//! tokio, and registers metrics. A [`Budget`] counts what the server's clients make it hold, and [`Notices`] limits
//! what it logs of them.

pub use crate::batch::{Answer, Answers, Batch, Hold};
pub use crate::budget::{Budget, Exhausted, Permit, Share};
pub use crate::handle::server_side::ServerSide;
pub use ruvector_transport::Notices;
