//! What answers take in memory.

use super::super::command::{KeyValue, Outcome, Response, TxnOpResponse, TxnResponse};

/// About what an answer takes beside the keys and values in it.
const ANSWER_OVERHEAD_BYTES: u64 = 128;

/// About how many bytes an answer takes.
pub(super) fn weight(answer: &Response) -> u64 {
    let contents = match &answer.result {
        Ok(Outcome::Put(put)) => put.prev_kv.as_deref().map_or(0, weight_of_kv),
        Ok(Outcome::Delete(delete)) => delete.prev_kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        Ok(Outcome::Txn(txn)) => weight_of_txn(txn),
        Ok(Outcome::LeaseRenew(leases)) => leases.len() as u64 * 16,
        Ok(
            Outcome::Compact
            | Outcome::LeaseGrant { .. }
            | Outcome::LeaseRevoke
            | Outcome::SessionOpened(_)
            | Outcome::RetentionSet,
        )
        | Err(_) => 0,
    };
    ANSWER_OVERHEAD_BYTES + contents
}

fn weight_of_txn(txn: &TxnResponse) -> u64 {
    let of_step = |step: &TxnOpResponse| match step {
        TxnOpResponse::Range(range) => range.kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        TxnOpResponse::Put(put) => put.prev_kv.as_deref().map_or(0, weight_of_kv),
        TxnOpResponse::Delete(delete) => delete.prev_kvs.iter().map(|kv| weight_of_kv(kv)).sum(),
        TxnOpResponse::Txn(nested) => weight_of_txn(nested),
    };
    txn.responses.iter().map(|step| ANSWER_OVERHEAD_BYTES + of_step(step)).sum()
}

fn weight_of_kv(kv: &KeyValue) -> u64 {
    ANSWER_OVERHEAD_BYTES + (kv.key.len() + kv.value.len()) as u64
}
