//! The service of the command line.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::admin_server::Admin;
use ruvector_node::state_machine::kv::{Command, InSession, KeyRange, KvView, Retention};
use ruvector_node::status::{RetentionStatus, StoreStatus};
use ruvector_node::{Index, LogRecord, Member, NodeError, ReadLevel, SnapshotInfo, UnusableSnapshot};
use tonic::{Request, Response, Status};

use crate::groups::Groups;
use crate::service::caller::Caller;
use crate::service::error::{InvalidRequest, ServiceError};
use crate::wire::busy::busy;
use crate::wire::convert;

/// How many entries of the log one answer has at most.
const LOG_TAIL_MAX: u32 = 10_000;

/// The service of the command line.
pub(crate) struct AdminService {
    /// Who asks, of which group.
    pub(crate) context: Caller,
    /// All groups of the node.
    pub(crate) groups: Arc<Groups>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let mut status = self.context.status().await.map_err(refusal)?;
        for group in status.groups_mut() {
            if let Some(context) = self.groups.by_name(&group.name) {
                group.store = Some(store(&context.version(true).await.map_err(refusal)?.view));
            }
        }
        let status = serde_json::to_string(&status).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(pb::StatusResponse { status }))
    }

    async fn log_tail(
        &self,
        request: Request<pb::LogTailRequest>,
    ) -> Result<Response<pb::LogTailResponse>, Status> {
        let count = request.get_ref().count.min(LOG_TAIL_MAX) as usize;
        let records = self.context.log_tail(count).await.map_err(refusal)?;
        Ok(Response::new(pb::LogTailResponse { entries: records.into_iter().map(log_entry).collect() }))
    }

    async fn compact_log(
        &self,
        request: Request<pb::CompactLogRequest>,
    ) -> Result<Response<pb::CompactLogResponse>, Status> {
        let before = Index(request.get_ref().before_index);
        let first = self.context.compact_log(before).await.map_err(refusal)?;
        Ok(Response::new(pb::CompactLogResponse { first_index: first.0 }))
    }

    async fn snapshot_create(
        &self,
        request: Request<pb::SnapshotCreateRequest>,
    ) -> Result<Response<pb::SnapshotCreateResponse>, Status> {
        let info = self.context.create_snapshot(&request.get_ref().name).await.map_err(refusal)?;
        Ok(Response::new(pb::SnapshotCreateResponse { snapshot: Some(snapshot(info)) }))
    }

    async fn snapshot_list(
        &self,
        _: Request<pb::SnapshotListRequest>,
    ) -> Result<Response<pb::SnapshotListResponse>, Status> {
        let listing = self.context.list_snapshots().await.map_err(refusal)?;
        let usable = listing.usable.into_iter().map(snapshot);
        let snapshots = usable.chain(listing.unusable.into_iter().map(unusable_snapshot)).collect();
        Ok(Response::new(pb::SnapshotListResponse { snapshots }))
    }

    async fn read(&self, request: Request<pb::ReadRequest>) -> Result<Response<pb::ReadResponse>, Status> {
        let request = request.into_inner();
        if request.key.is_empty() {
            return Err(refusal(InvalidRequest::EmptyKey.into()));
        }
        let level = read_level(&request)?;
        let (read, found) = self.context.read_key(level, request.key).await.map_err(refusal)?;
        let view = &read.published.view;
        Ok(Response::new(pb::ReadResponse {
            kv: found.map(|kv| convert::key_value(&kv)),
            level: request.level,
            staleness_us: read.staleness_us,
            applied_index: read.published.applied.index.0,
            applied_term: read.published.applied.term.0,
            revision: view.revision().0,
            node_id: self.context.handle.node_id().0,
            node_name: self.context.handle.node_name().to_owned(),
        }))
    }
}

/// People read these errors, so they are the node's own texts.
fn admin_status(error: NodeError) -> Status {
    let text = error.to_string();
    match error {
        NodeError::OutcomeUnknown | NodeError::NoLeader | NodeError::Stopped(_) => Status::unavailable(text),
        NodeError::TooBusy => Status::resource_exhausted(text),
        NodeError::TooLarge { .. } => Status::invalid_argument(text),
        NodeError::TooStale { .. } | NodeError::Refused(_) => Status::failed_precondition(text),
    }
}

/// What is said of other errors.
fn refusal(error: ServiceError) -> Status {
    match error {
        ServiceError::Node(error) => admin_status(error),
        ServiceError::TooManyRequests(_) => busy(),
        ServiceError::NoLeader | ServiceError::Stopping => Status::unavailable(error.to_string()),
        ServiceError::Invalid(InvalidRequest::EmptyKey) => {
            Status::invalid_argument("etcdserver: key is not provided")
        }
        ServiceError::Invalid(_) => Status::invalid_argument(error.to_string()),
        ServiceError::Store(_) => Status::failed_precondition(error.to_string()),
        ServiceError::Mismatched { .. } | ServiceError::ReadEnded(_) => Status::internal(error.to_string()),
    }
}

fn read_level(request: &pb::ReadRequest) -> Result<ReadLevel, Status> {
    let level = match request.level() {
        pb::ReadLevel::Strong => ReadLevel::Strong,
        pb::ReadLevel::Lease => ReadLevel::Lease,
        pb::ReadLevel::Stale => ReadLevel::Stale { max_staleness_ms: request.max_staleness_ms },
        pb::ReadLevel::Unspecified => {
            return Err(Status::invalid_argument("a read must name its level: strong, lease or stale"));
        }
    };
    match level {
        ReadLevel::Strong | ReadLevel::Lease if request.max_staleness_ms.is_some() => {
            Err(Status::invalid_argument("only a stale read has a greatest staleness"))
        }
        ReadLevel::Strong | ReadLevel::Lease | ReadLevel::Stale { .. } => Ok(level),
    }
}

fn store(view: &KvView) -> StoreStatus {
    let Retention { age_ms, bytes } = view.retention();
    StoreStatus {
        revision: view.revision().0,
        compacted_revision: view.compacted().0,
        key_count: view.key_count() as u64,
        bytes: view.size_bytes(),
        lease_count: view.leases().len() as u64,
        history_count: view.history_count() as u64,
        retention: RetentionStatus { age_ms, bytes },
    }
}

pub(crate) fn member(member: Member) -> pb::Member {
    pb::Member {
        node_id: member.id.0,
        name: member.name,
        peer_address: member.peer_address,
        client_address: member.client_address.filter(|address| !address.is_empty()),
    }
}

fn log_entry(record: LogRecord) -> pb::LogEntry {
    pb::LogEntry {
        index: record.position.index.0,
        term: record.position.term.0,
        time_ms: record.time.0,
        kind: record.kind.to_owned(),
        description: if record.kind == "command" { describe(&record.command) } else { String::new() },
        command_bytes: record.command.len() as u64,
        origin_id: record.origin.map(|origin| origin.0),
    }
}

/// One line about an entry's command, without values.
fn describe(bytes: &Bytes) -> String {
    match InSession::split(bytes) {
        Ok((None, command)) => describe_command(&command),
        Ok((Some(place), command)) => {
            let InSession { session, sequence, settled_below: _ } = place;
            format!("{} (number {sequence} of session {})", describe_command(&command), session.0)
        }
        Err(error) => error.to_string(),
    }
}

fn describe_command(command: &Bytes) -> String {
    let range = |range: &KeyRange| match range.range_end.as_ref() {
        [] => quoted(&range.key),
        [0] => format!("{} and above", quoted(&range.key)),
        end => format!("{} to {}", quoted(&range.key), quoted(end)),
    };
    match Command::decode(command) {
        Ok(Command::Put(put)) => format!("put {} ({} bytes)", quoted(&put.key), put.value.len()),
        Ok(Command::Delete(delete)) => format!("delete {}", range(&delete.range)),
        Ok(Command::Txn(txn)) => format!(
            "transaction: if {} comparisons then {} operations else {}",
            txn.compare.len(),
            txn.success.len(),
            txn.failure.len()
        ),
        Ok(Command::Compact { revision }) => format!("compact to revision {}", revision.0),
        Ok(Command::LeaseGrant { id, ttl_seconds }) => format!("grant lease {:x} for {ttl_seconds} s", id.0),
        Ok(Command::LeaseRevoke { id }) => format!("revoke lease {:x}", id.0),
        Ok(Command::LeaseRenew { ids }) => format!("renew {} leases", ids.len()),
        Ok(Command::SetRetention(retention)) => describe_retention(&retention),
        Ok(Command::OpenSession { .. }) => "open a session".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn describe_retention(retention: &Retention) -> String {
    let age = retention.age_ms.map(|age_ms| format!("for {} s", age_ms / 1_000));
    let bytes = retention.bytes.map(|bytes| format!("of {bytes} bytes"));
    let limits: Vec<String> = age.into_iter().chain(bytes).collect();
    if limits.is_empty() {
        "keep all history".to_owned()
    } else {
        format!("keep history {}", limits.join(" and "))
    }
}

/// How many bytes of a key a line shows.
const KEY_SHOWN_BYTES: usize = 64;

fn quoted(key: &[u8]) -> String {
    let shown = key.get(..KEY_SHOWN_BYTES).unwrap_or(key);
    let more = if shown.len() < key.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

fn snapshot(info: SnapshotInfo) -> pb::Snapshot {
    pb::Snapshot {
        name: info.name,
        index: info.meta.position.index.0,
        term: info.meta.position.term.0,
        time_ms: info.meta.time.0,
        file_bytes: info.file_bytes,
        automatic: info.automatic,
        damage: String::new(),
    }
}

fn unusable_snapshot(unusable: UnusableSnapshot) -> pb::Snapshot {
    let UnusableSnapshot { name, automatic, error } = unusable;
    pb::Snapshot { name, automatic, damage: error.to_string(), ..pb::Snapshot::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_node::state_machine::kv::{DeleteRequest, LeaseId, PutRequest};

    use super::*;

    #[test]
    fn a_command_is_told_in_one_line_without_its_value() {
        let put = |key: Vec<u8>| {
            let put = PutRequest {
                key: key.into(),
                value: "secret".into(),
                lease: None,
                prev_kv: false,
                ignore_value: false,
                ignore_lease: false,
            };
            describe(&Command::Put(put).encode())
        };
        assert_eq!(put(b"a\n\"".to_vec()), r#"put "a\n\"" (6 bytes)"#);
        assert_eq!(put(vec![b'k'; 100]), format!("put \"{}…\" (6 bytes)", "k".repeat(64)));
        let delete = |range_end: &'static str| {
            let range = KeyRange { key: "a".into(), range_end: range_end.into() };
            describe(&Command::Delete(DeleteRequest { range, prev_kv: false }).encode())
        };
        assert_eq!(delete(""), r#"delete "a""#);
        assert_eq!(delete("\0"), r#"delete "a" and above"#);
        assert_eq!(delete("b"), r#"delete "a" to "b""#);
        assert_eq!(describe(&Command::LeaseRevoke { id: LeaseId(255) }.encode()), "revoke lease ff");
        assert!(describe(&Bytes::from_static(&[99])).contains("unknown command"));
    }

    #[test]
    fn a_read_names_its_level_and_only_a_stale_one_has_a_bound() {
        let request = |level: pb::ReadLevel, max_staleness_ms| pb::ReadRequest {
            key: "a".into(),
            level: level as i32,
            max_staleness_ms,
        };
        assert_eq!(read_level(&request(pb::ReadLevel::Strong, None)).unwrap(), ReadLevel::Strong);
        assert_eq!(
            read_level(&request(pb::ReadLevel::Stale, Some(5))).unwrap(),
            ReadLevel::Stale { max_staleness_ms: Some(5) }
        );
        assert!(read_level(&request(pb::ReadLevel::Lease, Some(5))).is_err());
        assert!(read_level(&request(pb::ReadLevel::Unspecified, None)).is_err());
    }
}
