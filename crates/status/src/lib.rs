//! What a node tells of itself: defined here, filled in by the node and its server, and shown by every reader.
//!
//! There is one shape. The node makes a [`NodeStatus`], the server adds what it knows of the store, and it travels as
//! JSON: what a client reads, what the command line prints with `--json` and what the node meant are the same fields.
//! `docs/schema/status.json` is its JSON schema; a test compares them.
//!
//! Readers and nodes may be of different versions. A field that a reader does not know is ignored, and one that a
//! node does not send has its default. So fields are added, and never renamed or given another meaning.
//!
//! What this crate does not do: it asks nobody, and derives nothing that is not said.

mod group;
mod id;
mod node;

pub use group::{GroupStatus, PeerStatus, RetentionStatus, Role, StoreStatus};
pub use id::{Id, Named};
pub use node::{ConnectionStatus, MemberStatus, NodeStatus};
