//! Refusing transactions that write one key twice.
//!
//! All changes of a transaction share one revision, so a key can change only once in it. Like etcd's
//! `checkIntervals` this looks at the request alone: a put inside a deleted range counts even if nothing is
//! there to delete. It is stricter than etcd in two cases, which etcd lets through against its own definition: a put in one
//! nested transaction and a delete over it in a later sibling, and a put and a delete of everything from a key on.

use std::collections::BTreeSet;

use super::command::{KeyRange, KvError, TxnOp, TxnRequest};
use super::store::RangeBounds;

impl TxnRequest {
    /// Checks that no branch puts a key twice or puts and deletes it. Deleting twice is allowed, and so
    /// are writes that exclude each other, in the two branches of one transaction.
    ///
    /// # Errors
    /// [`KvError::DuplicateKey`].
    pub fn check_duplicate_keys(&self) -> Result<(), KvError> {
        writes_of_either_branch(self).map(|_| ())
    }
}

/// What a piece of a transaction may write.
#[derive(Default)]
struct Writes<'request> {
    puts: BTreeSet<&'request [u8]>,
    deletes: Vec<&'request KeyRange>,
}

fn writes_of_either_branch(txn: &TxnRequest) -> Result<Writes<'_>, KvError> {
    let mut either = writes_of_branch(&txn.success)?;
    let failure = writes_of_branch(&txn.failure)?;
    either.puts.extend(failure.puts);
    either.deletes.extend(failure.deletes);
    Ok(either)
}

fn writes_of_branch(ops: &[TxnOp]) -> Result<Writes<'_>, KvError> {
    let mut parts = vec![direct_writes(ops)?];
    for op in ops {
        match op {
            TxnOp::Txn(nested) => parts.push(writes_of_either_branch(nested)?),
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::Delete(_) => {}
        }
    }
    refuse_deletes_over_earlier_puts(parts.iter())?;
    refuse_deletes_over_earlier_puts(parts.iter().rev())?;
    merge(parts)
}

/// What the operations of one branch write themselves, without the transactions nested in it.
fn direct_writes(ops: &[TxnOp]) -> Result<Writes<'_>, KvError> {
    let mut writes = Writes::default();
    for op in ops {
        match op {
            TxnOp::Put(put) if !writes.puts.insert(&put.key) => return Err(KvError::DuplicateKey),
            TxnOp::Delete(delete) => writes.deletes.push(&delete.range),
            TxnOp::Put(_) | TxnOp::Range(_) | TxnOp::Txn(_) => {}
        }
    }
    if writes.deletes.iter().any(|range| contains_any(range, &writes.puts)) {
        return Err(KvError::DuplicateKey);
    }
    Ok(writes)
}

/// Compares each part only with the parts before it: those within a part may exclude each other.
fn refuse_deletes_over_earlier_puts<'request, 'part>(
    parts: impl Iterator<Item = &'part Writes<'request>>,
) -> Result<(), KvError>
where
    'request: 'part,
{
    let mut earlier_puts = BTreeSet::new();
    for part in parts {
        if part.deletes.iter().any(|range| contains_any(range, &earlier_puts)) {
            return Err(KvError::DuplicateKey);
        }
        earlier_puts.extend(part.puts.iter().copied());
    }
    Ok(())
}

fn merge(parts: Vec<Writes<'_>>) -> Result<Writes<'_>, KvError> {
    let mut all = Writes::default();
    for part in parts {
        for key in part.puts {
            if !all.puts.insert(key) {
                return Err(KvError::DuplicateKey);
            }
        }
        all.deletes.extend(part.deletes);
    }
    Ok(all)
}

fn contains_any(range: &KeyRange, keys: &BTreeSet<&[u8]>) -> bool {
    match range.bounds() {
        RangeBounds::Single(key) => keys.contains(key),
        RangeBounds::Interval(bounds) => keys.range::<[u8], _>(bounds).next().is_some(),
        RangeBounds::Empty => false,
    }
}
