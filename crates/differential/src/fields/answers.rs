//! The fields of answers.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::response_op::Response;
use tonic::Status;

use super::{Tell, Teller};

/// The ids of cluster and member and the term are each system's own: only whether there are any is told.
impl Tell for pb::ResponseHeader {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { cluster_id, member_id, revision, raft_term } = self;
        to.flag("has_cluster_id", *cluster_id != 0);
        to.flag("has_member_id", *member_id != 0);
        to.revision("revision", *revision);
        to.flag("has_raft_term", *raft_term != 0);
    }
}

impl Tell for Status {
    fn tell(&self, to: &mut Teller<'_>) {
        to.put("code", format!("{:?}", self.code()));
        to.text("message", self.message());
    }
}

impl Tell for pb::RangeResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, kvs, more, count } = self;
        to.perhaps("header", header.as_ref());
        to.list("kvs", kvs);
        to.flag("more", *more);
        to.number("count", *count);
    }
}

impl Tell for pb::PutResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, prev_kv } = self;
        to.perhaps("header", header.as_ref());
        to.perhaps("prev_kv", prev_kv.as_ref());
    }
}

impl Tell for pb::DeleteRangeResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, deleted, prev_kvs } = self;
        to.perhaps("header", header.as_ref());
        to.number("deleted", *deleted);
        to.list("prev_kvs", prev_kvs);
    }
}

impl Tell for pb::TxnResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, succeeded, responses } = self;
        to.perhaps("header", header.as_ref());
        to.flag("succeeded", *succeeded);
        to.list("responses", responses);
    }
}

impl Tell for pb::ResponseOp {
    fn tell(&self, to: &mut Teller<'_>) {
        match &self.response {
            Some(Response::ResponseRange(response)) => to.within("range", response),
            Some(Response::ResponsePut(response)) => to.within("put", response),
            Some(Response::ResponseDeleteRange(response)) => to.within("delete", response),
            Some(Response::ResponseTxn(response)) => to.within("txn", response),
            None => to.put("response", "none"),
        }
    }
}

impl Tell for pb::CompactionResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header } = self;
        to.perhaps("header", header.as_ref());
    }
}

impl Tell for pb::LeaseGrantResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, id, ttl, error } = self;
        to.perhaps("header", header.as_ref());
        to.lease("id", *id);
        to.number("ttl", *ttl);
        to.text("error", error);
    }
}

impl Tell for pb::LeaseRevokeResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header } = self;
        to.perhaps("header", header.as_ref());
    }
}

impl Tell for pb::LeaseKeepAliveResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, id, ttl } = self;
        to.perhaps("header", header.as_ref());
        to.lease("id", *id);
        to.number("ttl", *ttl);
    }
}

/// The keys are sorted: etcd has them in another order each time.
impl Tell for pb::LeaseTimeToLiveResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, id, ttl, granted_ttl, keys } = self;
        to.perhaps("header", header.as_ref());
        to.lease("id", *id);
        to.number("ttl", *ttl);
        to.number("granted_ttl", *granted_ttl);
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_unstable();
        to.put("keys.length", keys.len().to_string());
        for (at, key) in keys.into_iter().enumerate() {
            to.bytes(&format!("keys[{at}]"), key);
        }
    }
}

impl Tell for pb::LeaseLeasesResponse {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { header, leases } = self;
        to.perhaps("header", header.as_ref());
        to.list("leases", leases);
    }
}

impl Tell for pb::LeaseStatus {
    fn tell(&self, to: &mut Teller<'_>) {
        let Self { id } = self;
        to.lease("id", *id);
    }
}
