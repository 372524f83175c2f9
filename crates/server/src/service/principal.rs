//! Who asks, and what they may do.

use ruvector_node::state_machine::kv::{Command, LeaseId, RangeRequest, TxnRequest};

use super::error::ServiceError;
use super::watch::range::WatchRange;

/// Who asks. It is decided once, where a connection comes in, and every operation of the service knows it.
///
/// There are no users yet, so everybody is one principal, which may do everything. Users come as further variants.
/// Then these methods decide what each of them may do: every operation asks one of them, once, before it does or
/// tells anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Whoever reaches the port.
    Everybody,
}

impl Principal {
    /// Whether it may give a command: any write, of keys and of leases, alone or in a session; to open one.
    pub(super) fn may_give(&self, _: &Command) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may read a range.
    pub(super) fn may_read(&self, _: &RangeRequest) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may compare and read what a transaction without writes does.
    pub(super) fn may_read_txn(&self, _: &TxnRequest) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may be told of changes.
    pub(super) fn may_watch(&self, _: &WatchRange) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may renew a lease. Many renewals are one command, which therefore is nobody's own.
    pub(super) fn may_renew(&self, _: LeaseId) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may look at leases.
    pub(super) fn may_see_leases(&self) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may look at the node and its cluster.
    pub(super) fn may_look(&self) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }

    /// Whether it may change what the node keeps of its log and its snapshots.
    pub(super) fn may_administer(&self) -> Result<(), ServiceError> {
        match self {
            Self::Everybody => Ok(()),
        }
    }
}
