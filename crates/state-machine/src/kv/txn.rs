//! Transactions.
//!
//! As in etcd, all comparisons, of nested transactions too, are decided on the state before the transaction,
//! then everything that could fail is checked, and only then is anything written. So a transaction that fails
//! has changed nothing, and nothing has to be undone.

use super::command::{
    DeleteRequest, KvError, PutRequest, RangeRequest, RangeResponse, Revision, TxnOp, TxnOpResponse,
    TxnRequest, TxnResponse,
};
use super::limits::TXN_DEPTH_MAX;
use super::store::Store;

impl TxnRequest {
    /// Whether neither branch writes, at any depth.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::Delete(_) => false,
            TxnOp::Txn(nested) => nested.is_read_only(),
        })
    }

    fn check_depth(&self, levels_left: usize) -> Result<(), KvError> {
        let Some(levels_left) = levels_left.checked_sub(1) else {
            return Err(KvError::UnknownCommand(format!("transactions nested deeper than {TXN_DEPTH_MAX}")));
        };
        self.success.iter().chain(&self.failure).try_for_each(|op| match op {
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::Delete(_) => Ok(()),
            TxnOp::Txn(nested) => nested.check_depth(levels_left),
        })
    }
}

impl Store {
    /// Does a transaction in one revision.
    pub(super) fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, KvError> {
        let decided = self.decide_and_check(request)?;
        Ok(self.change(|store, at| store.execute(at, decided)))
    }

    fn decide_and_check(&self, request: TxnRequest) -> Result<DecidedTxn, KvError> {
        request.check_depth(TXN_DEPTH_MAX)?;
        request.check_duplicate_keys()?;
        let decided = self.decide(request);
        decided.for_each_op(&mut |op| match op {
            // In this order, though a put that stands alone looks for its lease first: as in etcd.
            DecidedOp::Put(put) => self.check_key(put).and_then(|()| self.check_lease(put)),
            DecidedOp::Range(_) | DecidedOp::Delete(_) | DecidedOp::Txn(_) => Ok(()),
        })?;
        decided.for_each_op(&mut |op| match op {
            DecidedOp::Range(range) => self.check_range(range),
            DecidedOp::Put(_) | DecidedOp::Delete(_) | DecidedOp::Txn(_) => Ok(()),
        })?;
        Ok(decided)
    }

    fn decide(&self, request: TxnRequest) -> DecidedTxn {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { request.success } else { request.failure };
        let decide_op = |op| match op {
            TxnOp::Range(range) => DecidedOp::Range(range),
            TxnOp::Put(put) => DecidedOp::Put(put),
            TxnOp::Delete(delete) => DecidedOp::Delete(delete),
            TxnOp::Txn(nested) => DecidedOp::Txn(self.decide(nested)),
        };
        DecidedTxn { succeeded, ops: ops.into_iter().map(decide_op).collect() }
    }

    /// Whether the lease that a put names exists.
    pub(super) fn check_lease(&self, request: &PutRequest) -> Result<(), KvError> {
        match request.lease.filter(|lease| lease.0 != 0 && !self.lives(*lease)) {
            Some(lease) => Err(KvError::LeaseNotFound(lease)),
            None => Ok(()),
        }
    }

    /// Whether a key exists of which a put keeps something.
    pub(super) fn check_key(&self, request: &PutRequest) -> Result<(), KvError> {
        if (request.ignore_value || request.ignore_lease) && self.get(&request.key).is_none() {
            return Err(KvError::KeyNotFound);
        }
        Ok(())
    }

    /// Whether a read can be done. As in etcd, one within a transaction can ask for a revision below zero in vain, where one
    /// of its own would get the present; to -1 that applies from the first compaction on.
    fn check_range(&self, request: &RangeRequest) -> Result<(), KvError> {
        let first = if self.compacted == Revision(0) { Revision(-1) } else { self.compacted };
        match request.revision {
            Some(requested) if requested.0 < 0 && requested < first => {
                Err(KvError::Compacted { requested, compacted: self.compacted })
            }
            revision => self.read_point(revision).map(|_| ()),
        }
    }

    /// Does what was decided and checked; each operation sees what those before it did.
    fn execute(&mut self, at: Revision, txn: DecidedTxn) -> TxnResponse {
        let responses = txn.ops.into_iter().map(|op| match op {
            DecidedOp::Range(request) => TxnOpResponse::Range(self.checked_range(&request)),
            DecidedOp::Put(request) => TxnOpResponse::Put(self.put(at, &request)),
            DecidedOp::Delete(request) => TxnOpResponse::Delete(self.delete(at, &request)),
            DecidedOp::Txn(nested) => TxnOpResponse::Txn(self.execute(at, nested)),
        });
        TxnResponse { responses: responses.collect(), succeeded: txn.succeeded }
    }

    fn checked_range(&self, request: &RangeRequest) -> RangeResponse {
        self.range(request).expect("its revision was checked and writing changes no bound of history")
    }

    /// Evaluates a transaction that writes nothing.
    pub(super) fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        request.check_depth(TXN_DEPTH_MAX)?;
        if !request.is_read_only() {
            return Err(KvError::UnknownCommand("a transaction that writes was sent as a read".into()));
        }
        self.clone().txn(request.clone())
    }
}

/// A transaction of which only the branches are left that its comparisons chose.
struct DecidedTxn {
    succeeded: bool,
    ops: Vec<DecidedOp>,
}

enum DecidedOp {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRequest),
    Txn(DecidedTxn),
}

impl DecidedTxn {
    /// Visits every operation, those of nested transactions included, in order, until one is refused.
    fn for_each_op(&self, visit: &mut dyn FnMut(&DecidedOp) -> Result<(), KvError>) -> Result<(), KvError> {
        self.ops.iter().try_for_each(|op| match op {
            DecidedOp::Range(_) | DecidedOp::Put(_) | DecidedOp::Delete(_) => visit(op),
            DecidedOp::Txn(nested) => nested.for_each_op(visit),
        })
    }
}
