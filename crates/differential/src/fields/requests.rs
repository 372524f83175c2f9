//! The fields of requests, for whoever reads a report.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::compare::TargetUnion;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;

use super::{Tell, Teller};
use crate::program::{Action, Expiry, Renewals, Saying, Step};

impl Tell for Step {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { node, action } = self;
        to.number("node", *node);
        match action {
            Some(Action::Range(request)) => request.tell(to),
            Some(Action::Put(request)) => request.tell(to),
            Some(Action::Delete(request)) => request.tell(to),
            Some(Action::Txn(request)) => request.tell(to),
            Some(Action::Compact(pb::CompactionRequest { revision, physical })) => {
                to.revision("revision", *revision);
                to.flag("physical", *physical);
            }
            Some(Action::Grant(request) | Action::Fleeting(request)) => {
                to.lease("id", request.id);
                to.number("ttl", request.ttl);
            }
            Some(Action::Revoke(pb::LeaseRevokeRequest { id })) => to.lease("id", *id),
            Some(Action::KeepAlive(Renewals { ids })) => {
                ids.iter().enumerate().for_each(|(at, id)| to.lease(&format!("ids[{at}]"), *id));
            }
            Some(Action::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys })) => {
                to.lease("id", *id);
                to.flag("keys", *keys);
            }
            Some(Action::Expire(Expiry { id, keys })) => {
                to.lease("id", *id);
                keys.iter().enumerate().for_each(|(at, key)| to.bytes(&format!("keys[{at}]"), key));
            }
            Some(Action::Watch(saying)) => saying.tell(to),
            Some(Action::Leases(_)) | None => {}
        }
    }
}

impl Tell for pb::RangeRequest {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            serializable,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        } = self;
        to.bytes("key", key);
        to.bytes("range_end", range_end);
        to.number("limit", *limit);
        to.revision("revision", *revision);
        to.number("sort_order", *sort_order);
        to.number("sort_target", *sort_target);
        to.flag("serializable", *serializable);
        to.flag("keys_only", *keys_only);
        to.flag("count_only", *count_only);
        to.revision("min_mod_revision", *min_mod_revision);
        to.revision("max_mod_revision", *max_mod_revision);
        to.revision("min_create_revision", *min_create_revision);
        to.revision("max_create_revision", *max_create_revision);
    }
}

impl Tell for pb::PutRequest {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { key, value, lease, prev_kv, ignore_value, ignore_lease } = self;
        to.bytes("key", key);
        to.bytes("value", value);
        to.lease("lease", *lease);
        to.flag("prev_kv", *prev_kv);
        to.flag("ignore_value", *ignore_value);
        to.flag("ignore_lease", *ignore_lease);
    }
}

impl Tell for pb::DeleteRangeRequest {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { key, range_end, prev_kv } = self;
        to.bytes("key", key);
        to.bytes("range_end", range_end);
        to.flag("prev_kv", *prev_kv);
    }
}

impl Tell for pb::TxnRequest {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { compare, success, failure } = self;
        to.list("if", compare);
        to.list("then", success);
        to.list("else", failure);
    }
}

impl Tell for pb::Compare {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { result, target, key, target_union, range_end } = self;
        to.bytes("key", key);
        to.bytes("range_end", range_end);
        to.number("result", *result);
        to.number("target", *target);
        match target_union {
            Some(TargetUnion::Version(number)) => to.number("version", *number),
            Some(TargetUnion::CreateRevision(revision)) => to.revision("create_revision", *revision),
            Some(TargetUnion::ModRevision(revision)) => to.revision("mod_revision", *revision),
            Some(TargetUnion::Value(value)) => to.bytes("value", value),
            Some(TargetUnion::Lease(lease)) => to.lease("lease", *lease),
            None => to.put("operand", "none"),
        }
    }
}

impl Tell for pb::RequestOp {
    fn tell(&self, to: &mut Teller<'_>) {
        match &self.request {
            Some(Request::RequestRange(request)) => to.within("range", request),
            Some(Request::RequestPut(request)) => to.within("put", request),
            Some(Request::RequestDeleteRange(request)) => to.within("delete", request),
            Some(Request::RequestTxn(request)) => to.within("txn", request),
            None => to.put("request", "none"),
        }
    }
}

impl Tell for Saying {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { stream, request } = self;
        to.put("stream", stream.to_string());
        match request.as_ref().map(|request| &request.request_union) {
            Some(Some(RequestUnion::CreateRequest(request))) => to.within("create", request),
            Some(Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }))) => {
                to.put("cancel", watch_id.to_string());
            }
            Some(Some(RequestUnion::ProgressRequest(_))) => to.put("progress", "asked"),
            Some(None) => to.put("request", "nothing"),
            None => to.put("sending", "ended"),
        }
    }
}

impl Tell for pb::WatchCreateRequest {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { key, range_end, start_revision, progress_notify, filters, prev_kv, watch_id, fragment } =
            self;
        to.bytes("key", key);
        to.bytes("range_end", range_end);
        to.revision("start_revision", *start_revision);
        to.flag("progress_notify", *progress_notify);
        filters
            .iter()
            .enumerate()
            .for_each(|(at, filter)| to.put(&format!("filters[{at}]"), filter.to_string()));
        to.flag("prev_kv", *prev_kv);
        to.number("watch_id", *watch_id);
        to.flag("fragment", *fragment);
    }
}
