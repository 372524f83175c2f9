//! What to do when the log can't be used.

/// What to do about a damaged log.
pub(super) const ADVICE: &str = "this node's log can't be trusted: check the disk, then remove this node's data \
    directory and let it join again and catch up from its peers, or restore the cluster from a snapshot";

/// What to do about a file of the log, or beside it, that another node wrote.
pub(super) const FOREIGN_ADVICE: &str = "put this node's own files back, or remove its data directory and let it join \
    again and catch up from its peers";
