//! Calls about keys: put, get, delete, and dropping old history.

use crate::group::Channel;
use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::ruvector::v1::native_request::Request;

use crate::client::Client;
use crate::connection::service;
use crate::error::ClientError;
use crate::keys::{
    DeleteAnswer, DeleteOptions, GetAnswer, GetOptions, KeyRange, PutAnswer, PutOptions, delete_request,
    put_request, range_request,
};
use crate::native;
use crate::verdict::Effect;

impl Client {
    /// Writes a key.
    ///
    /// # Errors
    /// Any [`ClientError`]; after [`ClientError::OutcomeUnknown`] the key may or may not have been written.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<PutAnswer, ClientError> {
        let request = put_request(key.into(), value.into(), options);
        if let Some(response) = self.native(Effect::Write, Request::Put(request.clone())).await? {
            return Ok(native::put(response)?.into());
        }
        let response = self
            .call(Effect::Write, |channel| {
                let request = request.clone();
                async move { kv(channel).put(request).await }
            })
            .await?;
        Ok(response.into())
    }

    /// Reads keys.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn get(
        &self,
        range: impl Into<KeyRange>,
        options: GetOptions,
    ) -> Result<GetAnswer, ClientError> {
        let request = range_request(range.into(), &options);
        // What any node may answer need not go to the leader.
        if !request.serializable
            && let Some(response) = self.native(Effect::Read, Request::Range(request.clone())).await?
        {
            return Ok(native::range(response)?.into());
        }
        let response = self
            .call(Effect::Read, |channel| {
                let request = request.clone();
                async move { kv(channel).range(request).await }
            })
            .await?;
        Ok(response.into())
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// Any [`ClientError`]; after [`ClientError::OutcomeUnknown`] the keys may or may not have been deleted.
    pub async fn delete(
        &self,
        range: impl Into<KeyRange>,
        options: DeleteOptions,
    ) -> Result<DeleteAnswer, ClientError> {
        let request = delete_request(range.into(), options);
        if let Some(response) = self.native(Effect::Write, Request::DeleteRange(request.clone())).await? {
            return Ok(native::delete(response)?.into());
        }
        let response = self
            .call(Effect::Write, |channel| {
                let request = request.clone();
                async move { kv(channel).delete_range(request).await }
            })
            .await?;
        Ok(response.into())
    }

    /// Drops the history before a revision: what was overwritten or deleted by then can no longer be read or
    /// watched.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Compacted`] if that revision has been dropped already.
    pub async fn compact(&self, revision: i64) -> Result<(), ClientError> {
        let request = pb::CompactionRequest { revision, physical: false };
        if let Some(response) = self.native(Effect::Write, Request::Compaction(request)).await? {
            return native::compaction(response);
        }
        self.call(Effect::Write, |channel| async move { kv(channel).compact(request).await }).await?;
        Ok(())
    }
}

pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
    service!(KvClient<Channel>, channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program has thousands of them under way. The way by etcd's API, which few go, takes kilobytes.
    #[tokio::test]
    async fn a_request_under_way_does_not_carry_what_it_hardly_ever_needs() {
        const BYTES_MAX: usize = 1024;
        let client = Client::new(["127.0.0.1:1"], crate::ClientOptions::default()).expect("a good endpoint");
        let key = || KeyRange::One("key".into());
        let get = client.get(key(), GetOptions::default());
        let put = client.put("key", "value", PutOptions::default());
        let delete = client.delete(key(), DeleteOptions::default());
        let sizes = [size_of_val(&get), size_of_val(&put), size_of_val(&delete)];
        assert!(sizes.iter().all(|size| *size <= BYTES_MAX), "{sizes:?}");
    }
}
