//! Transactions: comparisons, and what to do if all of them hold and if not, in one step.

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::ruvector::v1::native_request::Request;

use crate::client::Client;
use crate::error::ClientError;
use crate::keys::{
    DeleteAnswer, DeleteOptions, GetAnswer, GetOptions, KeyRange, LeaseId, PutAnswer, PutOptions,
    delete_request, put_request, range_request, revision_of,
};
use crate::kv::kv;
use crate::native;
use crate::verdict::Effect;

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
        let revision = revision_of(response.header.as_ref());
        let operations = response.responses.into_iter().map(|step| {
            let mut answer = OperationAnswer::try_from(step)?;
            // A server may tell it once, for all steps.
            let (OperationAnswer::Put(PutAnswer { revision: own, .. })
            | OperationAnswer::Get(GetAnswer { revision: own, .. })
            | OperationAnswer::Delete(DeleteAnswer { revision: own, .. })) = &mut answer;
            if *own == 0 {
                *own = revision;
            }
            Ok(answer)
        });
        Ok(Self {
            revision,
            succeeded: response.succeeded,
            operations: operations.collect::<Result<_, ClientError>>()?,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};

    use super::*;

    #[test]
    fn every_comparison_goes_into_the_request_as_it_is_meant() {
        for (relation, result) in [
            (Relation::Equal, CompareResult::Equal),
            (Relation::NotEqual, CompareResult::NotEqual),
            (Relation::Greater, CompareResult::Greater),
            (Relation::Less, CompareResult::Less),
        ] {
            for (property, target, value) in [
                (Target::Value("v".into()), CompareTarget::Value, TargetUnion::Value("v".into())),
                (Target::Version(1), CompareTarget::Version, TargetUnion::Version(1)),
                (Target::CreateRevision(2), CompareTarget::Create, TargetUnion::CreateRevision(2)),
                (Target::ModRevision(3), CompareTarget::Mod, TargetUnion::ModRevision(3)),
                (Target::lease(LeaseId(4)), CompareTarget::Lease, TargetUnion::Lease(4)),
            ] {
                let comparison = Comparison { key: KeyRange::Prefix("k".into()), target: property, relation };
                let expected = pb::Compare {
                    result: result.into(),
                    target: target.into(),
                    key: "k".into(),
                    range_end: "l".into(),
                    target_union: Some(value),
                };
                assert_eq!(pb::Compare::from(comparison), expected);
            }
        }
    }

    #[test]
    fn branches_and_steps_keep_their_places() {
        use pb::request_op::Request;

        let put = Operation::Put("k".into(), "v".into(), PutOptions::default());
        let get = Operation::Get("g".into(), GetOptions::default());
        let delete = Operation::Delete("d".into(), DeleteOptions::default());
        let transaction = Transaction { comparisons: vec![], then: vec![put, get], otherwise: vec![delete] };
        let request = pb::TxnRequest::from(transaction);
        let [put, get] = request.success.as_slice() else { panic!("{request:?}") };
        assert!(matches!(&put.request, Some(Request::RequestPut(put)) if put.key == "k" && put.value == "v"));
        assert!(matches!(&get.request, Some(Request::RequestRange(get)) if get.key == "g"));
        let [delete] = request.failure.as_slice() else { panic!("{request:?}") };
        assert!(matches!(&delete.request, Some(Request::RequestDeleteRange(delete)) if delete.key == "d"));
    }

    #[test]
    fn an_answer_is_told_with_all_its_fields() {
        use pb::response_op::Response;

        let header = Some(pb::ResponseHeader { revision: 9, ..Default::default() });
        let operation = |response| pb::ResponseOp { response: Some(response) };
        let response = pb::TxnResponse {
            header,
            succeeded: true,
            responses: vec![
                operation(Response::ResponsePut(pb::PutResponse::default())),
                operation(Response::ResponseRange(pb::RangeResponse { count: 3, ..Default::default() })),
                operation(Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                    deleted: 2,
                    ..Default::default()
                })),
            ],
        };
        let expected = TransactionAnswer {
            revision: 9,
            succeeded: true,
            operations: vec![
                OperationAnswer::Put(PutAnswer { revision: 9, previous: None }),
                OperationAnswer::Get(GetAnswer { revision: 9, key_values: vec![], more: false, count: 3 }),
                OperationAnswer::Delete(DeleteAnswer { revision: 9, deleted: 2, previous: vec![] }),
            ],
        };
        assert_eq!(TransactionAnswer::try_from(response).unwrap(), expected);
        let strange =
            pb::TxnResponse { responses: vec![pb::ResponseOp { response: None }], ..Default::default() };
        assert!(matches!(TransactionAnswer::try_from(strange), Err(ClientError::Malformed { .. })));
    }
}
