//! Which etcd this server passes for.

/// The version of etcd whose interface this server has. Clients choose by it what they ask; for instance
/// Kubernetes asks for progress of watches only from versions that answer it rightly.
pub(crate) const ETCD_VERSION: &str = "3.5.21";
/// The version that etcd's clusters of that version agree on.
pub(crate) const ETCD_CLUSTER_VERSION: &str = "3.5.0";
