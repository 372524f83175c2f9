//! Writes: every one is a command that is committed and applied.

use ruvector_node::daemon::Permit;
use ruvector_node::state_machine::kv::{
    Command, DeleteRequest, DeleteResponse, KeyValueRef, Outcome, PutRequest, PutResponse, Revision, TxnOp,
    TxnRequest, TxnResponse,
};

use super::caller::Caller;
use super::error::ServiceError;
use super::measured::{txn_listed_bytes, txn_may_be_large, txn_reads_many};
use super::read::evaluate;

/// What a command takes while it waits, beside its bytes.
const COMMAND_BYTES: usize = 512;

impl Caller {
    /// Puts a key. Tells the store's revision then, as all that follow do.
    pub(crate) async fn put(&self, request: PutRequest) -> Result<(Revision, PutResponse), ServiceError> {
        match self.propose(Command::Put(request)).await? {
            (revision, Outcome::Put(put)) => Ok((revision, put)),
            (_, other) => Err(ServiceError::mismatched("put", &other)),
        }
    }

    /// Deletes keys. `told_bytes` says how much a key-value takes in the form in which the caller is told it.
    pub(crate) async fn delete(
        &self,
        request: DeleteRequest,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
    ) -> Result<(Revision, DeleteResponse), ServiceError> {
        let alone =
            TxnRequest { compare: vec![], success: vec![TxnOp::Delete(request.clone())], failure: vec![] };
        let _permit = self.take_for_answer(&alone, told_bytes).await?;
        match self.propose(Command::Delete(request)).await? {
            (revision, Outcome::Delete(delete)) => Ok((revision, delete)),
            (_, other) => Err(ServiceError::mismatched("deletion", &other)),
        }
    }

    /// Has a transaction done that may write. What it may read is counted before: once it is applied there is no
    /// refusing it.
    pub(crate) async fn txn(
        &self,
        request: TxnRequest,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
    ) -> Result<(Revision, TxnResponse), ServiceError> {
        let _permit = self.take_for_answer(&request, told_bytes).await?;
        match self.propose(Command::Txn(request)).await? {
            (revision, Outcome::Txn(txn)) => Ok((revision, txn)),
            (_, other) => Err(ServiceError::mismatched("transaction", &other)),
        }
    }

    /// Gives up the history before a revision.
    pub(crate) async fn compact(&self, before: Revision) -> Result<Revision, ServiceError> {
        match self.propose(Command::Compact { revision: before }).await? {
            (revision, Outcome::Compact) => Ok(revision),
            (_, other) => Err(ServiceError::mismatched("compaction", &other)),
        }
    }

    /// Holds what the answer to a transaction that writes may take, if it reads more than single keys.
    async fn take_for_answer(
        &self,
        request: &TxnRequest,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
    ) -> Result<Option<Permit>, ServiceError> {
        match txn_reads_many(request) {
            // In a box: every call would carry the room for it.
            true => Box::pin(self.take_for_many(request, told_bytes)).await.map(Some),
            false => Ok(None),
        }
    }

    async fn take_for_many(
        &self,
        request: &TxnRequest,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
    ) -> Result<Permit, ServiceError> {
        let version = self.version(true).await?;
        let is_large = txn_may_be_large(request, &version.view);
        let reading = request.clone();
        let listed =
            evaluate(version, is_large, move |view| Ok(txn_listed_bytes(view, &reading, told_bytes))).await?;
        self.take(listed)
    }

    /// Has a command committed and applied. It is held as long as the node needs it, even if the caller no longer
    /// waits.
    pub(super) async fn propose(&self, command: Command) -> Result<(Revision, Outcome), ServiceError> {
        self.principal.may_give(&command)?;
        let encoded = command.encode();
        drop(command);
        let permit = self.take(encoded.len() + COMMAND_BYTES)?;
        let proposed = self.handle.server_side().propose_held(encoded, Some(permit)).await;
        let applied = proposed.inspect_err(|_| {
            self.counters.proposals_failed.inc();
        })?;
        Ok((applied.response.revision, applied.response.result?))
    }
}
