//! Transactions: comparisons, and what to do if all of them hold and if not, in one step.

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::ruvector::v1::native_request::Request;

use crate::client::Client;
use crate::error::{ClientError, Effect};
use crate::kv::{
    DeleteAnswer, DeleteOptions, GetAnswer, GetOptions, KeyRange, PutAnswer, PutOptions, delete_request, kv,
    put_request, range_request, revision_of,
};
use crate::lease::LeaseId;
use crate::native;

/// Done as one: `then` if all comparisons hold, otherwise `otherwise`.
///
/// ```
/// use ruvector_client::{Comparison, Operation, PutOptions, Relation, Target, Transaction};
///
/// // Take the key unless somebody has it.
/// let transaction = Transaction {
///     comparisons: vec![Comparison {
///         key: "leader".into(),
///         target: Target::CreateRevision(0),
///         relation: Relation::Equal,
///     }],
///     then: vec![Operation::Put("leader".into(), "me".into(), PutOptions::default())],
///     otherwise: vec![],
/// };
/// # let _ = transaction;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold; none given hold.
    pub comparisons: Vec<Comparison>,
    /// Done in order if they hold.
    pub then: Vec<Operation>,
    /// Done in order if they do not.
    pub otherwise: Vec<Operation>,
}

/// A condition on a key: its property stands in this relation to the given value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The key.
    pub key: KeyRange,
    /// Its property and what it is compared with.
    pub target: Target,
    /// How they must relate; the key's property is on the left.
    pub relation: Relation,
}

/// A property of a key, with the value it is compared with. Numbers are 0 for a key that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its value; a comparison with a key that does not exist never holds.
    Value(Bytes),
    /// Writes since it came into being.
    Version(i64),
    /// The revision at which it came into being.
    CreateRevision(i64),
    /// The revision at which it was last written.
    ModRevision(i64),
    /// The lease it ends with.
    Lease(i64),
}

/// How two values relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// The key's property is greater.
    Greater,
    /// The key's property is less.
    Less,
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes a key.
    Put(Bytes, Bytes, PutOptions),
    /// Reads keys.
    Get(KeyRange, GetOptions),
    /// Deletes keys.
    Delete(KeyRange, DeleteOptions),
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionAnswer {
    /// The store's revision afterwards.
    pub revision: i64,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// What each step of the chosen branch did, in order.
    pub operations: Vec<OperationAnswer>,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationAnswer {
    /// A put.
    Put(PutAnswer),
    /// A get.
    Get(GetAnswer),
    /// A delete.
    Delete(DeleteAnswer),
}

impl Client {
    /// Runs a transaction.
    ///
    /// # Errors
    /// Any [`ClientError`]; after [`ClientError::OutcomeUnknown`] it may or may not have been applied.
    pub async fn transact(&self, transaction: Transaction) -> Result<TransactionAnswer, ClientError> {
        let writes = |operations: &[Operation]| {
            operations.iter().any(|operation| !matches!(operation, Operation::Get(..)))
        };
        let changes_something = writes(&transaction.then) || writes(&transaction.otherwise);
        let effect = if changes_something { Effect::Write } else { Effect::Read };
        let request = pb::TxnRequest::from(transaction);
        if let Some(response) = self.native(effect, Request::Txn(request.clone())).await? {
            return native::txn(response)?.try_into();
        }
        let response = self
            .call(effect, |channel| {
                let request = request.clone();
                async move { kv(channel).txn(request).await }
            })
            .await?;
        response.try_into()
    }
}

impl From<Transaction> for pb::TxnRequest {
    fn from(transaction: Transaction) -> Self {
        Self {
            compare: transaction.comparisons.into_iter().map(Into::into).collect(),
            success: transaction.then.into_iter().map(Into::into).collect(),
            failure: transaction.otherwise.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Comparison> for pb::Compare {
    fn from(comparison: Comparison) -> Self {
        use pb::compare::{CompareResult, CompareTarget, TargetUnion};

        let result = match comparison.relation {
            Relation::Equal => CompareResult::Equal,
            Relation::NotEqual => CompareResult::NotEqual,
            Relation::Greater => CompareResult::Greater,
            Relation::Less => CompareResult::Less,
        };
        let (target, value) = match comparison.target {
            Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value)),
            Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(version)),
            Target::CreateRevision(revision) => {
                (CompareTarget::Create, TargetUnion::CreateRevision(revision))
            }
            Target::ModRevision(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision)),
            Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(lease)),
        };
        let (key, range_end) = comparison.key.into_bounds();
        Self { result: result.into(), target: target.into(), key, target_union: Some(value), range_end }
    }
}

impl From<Operation> for pb::RequestOp {
    fn from(operation: Operation) -> Self {
        use pb::request_op::Request;

        let request = match operation {
            Operation::Put(key, value, options) => Request::RequestPut(put_request(key, value, options)),
            Operation::Get(range, options) => Request::RequestRange(range_request(range, &options)),
            Operation::Delete(range, options) => Request::RequestDeleteRange(delete_request(range, options)),
        };
        Self { request: Some(request) }
    }
}

impl TryFrom<pb::TxnResponse> for TransactionAnswer {
    type Error = ClientError;

    fn try_from(response: pb::TxnResponse) -> Result<Self, ClientError> {
        Ok(Self {
            revision: revision_of(response.header.as_ref()),
            succeeded: response.succeeded,
            operations: response.responses.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<pb::ResponseOp> for OperationAnswer {
    type Error = ClientError;

    fn try_from(response: pb::ResponseOp) -> Result<Self, ClientError> {
        use pb::response_op::Response;

        match response.response {
            Some(Response::ResponsePut(put)) => Ok(Self::Put(put.into())),
            Some(Response::ResponseRange(range)) => Ok(Self::Get(range.into())),
            Some(Response::ResponseDeleteRange(delete)) => Ok(Self::Delete(delete.into())),
            Some(Response::ResponseTxn(_)) | None => Err(ClientError::Malformed {
                reason: "a transaction's step that was not asked for".to_owned(),
            }),
        }
    }
}

impl Target {
    /// That the key ends with this lease.
    #[must_use]
    pub fn lease(lease: LeaseId) -> Self {
        Self::Lease(lease.0)
    }
}
