//! The groups of this node, by name: each has a store, watches and renewals of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use ruvector_node::METADATA;
use tonic::Status;

use crate::metrics::Metrics;
use crate::service::context::Context;

/// The header of a request that is for another group than the metadata group, with the group's name.
pub(crate) const HEADER: &str = "ruvector-group";

/// What serves each group that this node is a member of, and what counts for all of them.
///
/// Invariant: the metadata group is among them.
pub(crate) struct Groups {
    metadata: Arc<Context>,
    others: BTreeMap<String, Arc<Context>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Groups {
    /// # Panics
    /// If the metadata group is not among the contexts.
    pub(crate) fn new(contexts: impl Iterator<Item = Context>, metrics: Arc<Metrics>) -> Self {
        let mut others: BTreeMap<_, _> =
            contexts.map(|context| (context.handle.group_name().to_owned(), Arc::new(context))).collect();
        let metadata = others.remove(METADATA).expect("every node is a member of the metadata group");
        Self { metadata, others, metrics }
    }

    /// The group that every node is a member of.
    pub(crate) fn metadata(&self) -> &Arc<Context> {
        &self.metadata
    }

    /// All of them, the metadata group first, then by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Context>> {
        std::iter::once(&self.metadata).chain(self.others.values())
    }

    /// A group of this node.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Context>> {
        if name == METADATA { Some(&self.metadata) } else { self.others.get(name) }
    }

    /// The group that a request is for, if it names one that is not the metadata group.
    ///
    /// # Errors
    /// What the client is told if this node has no such group.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Result<Option<&Arc<Context>>, Status> {
        let Some(name) = headers.get(HEADER) else { return Ok(None) };
        if name.as_bytes() == METADATA.as_bytes() {
            return Ok(None);
        }
        let found = name.to_str().ok().and_then(|name| self.others.get(name));
        found.map(Some).ok_or_else(|| self.unknown(&String::from_utf8_lossy(name.as_bytes())))
    }

    /// That nothing was done, and where it may be: a client goes on to another node if the group is there.
    fn unknown(&self, name: &str) -> Status {
        let node = self.metadata.handle.node_name();
        if let Some(members) = self.metadata.handle.members_of(name) {
            let members = members.join(", ");
            return Status::unavailable(format!(
                "{node} is no member of group {name}; its members are {members}"
            ));
        }
        let names: Vec<_> = self.all().map(|context| context.handle.group_name()).collect();
        Status::not_found(format!(
            "there is no group {name:?}; {node} is in {}; `ruvector consensus status` lists all groups",
            names.join(", ")
        ))
    }
}
