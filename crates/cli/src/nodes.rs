//! The nodes of a cluster: asked all at once, and what they say, put together.

mod ask;
mod quorum;
mod trouble;
mod view;

pub(crate) use ask::{Answer, ask_all, ask_all_briefly};
pub(crate) use quorum::QuorumView;
pub(crate) use view::ClusterView;
