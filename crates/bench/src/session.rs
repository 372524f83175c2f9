//! Who a load talks to: one connection to a node, in the node's own language.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};

use crate::wire::Wire;
use crate::zookeeper;

/// How fresh a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// It sees every write that was acknowledged before it began.
    Linearizable,
    /// It sees what the node has.
    Local,
}

/// A connection to a node. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    /// A server of etcd's API: etcd, this project's, or one that does nothing.
    Etcd(KvClient<Wire>),
    ZooKeeper(zookeeper::Session),
}

impl Session {
    /// Writes a value under the key of this number.
    pub(crate) async fn put(&mut self, number: u64, value: Bytes) -> Result<()> {
        match self {
            Self::Etcd(client) => {
                client.put(PutRequest { key: key(number), value, ..PutRequest::default() }).await?;
                Ok(())
            }
            Self::ZooKeeper(session) => session.set_data(&node_path(number), &value).await,
        }
    }

    /// Reads the value under the key of this number.
    ///
    /// # Errors
    /// If it can't be read as freshly as that, or there is none.
    pub(crate) async fn get(&mut self, number: u64, consistency: Consistency) -> Result<Bytes> {
        match self {
            Self::Etcd(client) => {
                let request = RangeRequest {
                    key: key(number),
                    serializable: consistency == Consistency::Local,
                    ..RangeRequest::default()
                };
                let found = client.range(request).await?.into_inner().kvs.pop();
                Ok(found.with_context(|| format!("no key {number}"))?.value)
            }
            Self::ZooKeeper(session) => {
                ensure!(consistency == Consistency::Local, "ZooKeeper's reads are local");
                session.get_data(&node_path(number)).await
            }
        }
    }

    /// Reads all keys of these numbers, linearizably.
    ///
    /// # Errors
    /// If they can't be read or are not all there.
    pub(crate) async fn range(&mut self, numbers: Range<u64>) -> Result<()> {
        let Self::Etcd(client) = self else { bail!("ZooKeeper has no ranges") };
        let expected = usize::try_from(numbers.end - numbers.start)?;
        let request = RangeRequest {
            key: key(numbers.start),
            range_end: key(numbers.end),
            limit: i64::try_from(expected)?,
            ..RangeRequest::default()
        };
        let found = client.range(request).await?.into_inner().kvs.len();
        ensure!(found == expected, "{found} of {expected} keys are there");
        Ok(())
    }

    /// Writes a value under each of these keys.
    pub(crate) async fn fill(&self, numbers: Range<u64>, value: Bytes) -> Result<()> {
        match self {
            Self::Etcd(client) => fill_by_transactions(client, numbers, &value).await,
            Self::ZooKeeper(session) => fill_by_creates(session, numbers, &value).await,
        }
    }
}

/// A connection to a server of etcd's API.
///
/// # Errors
/// As of [`Wire::connect`].
pub(crate) async fn wire(address: &str) -> Result<Wire> {
    // More than a hundred answers of the largest load at once: no load is to wait for the generator's window.
    const WINDOW_BYTES: u32 = 16 << 20;
    Wire::connect(address, WINDOW_BYTES).await
}

/// The key of this number; keys sort as their numbers do.
pub(crate) fn key(number: u64) -> Bytes {
    let mut key = *b"/bench/000000000000";
    let mut rest = number;
    for digit in key[KEY_PREFIX.len()..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Bytes::copy_from_slice(&key)
}

/// What all keys begin with.
pub(crate) const KEY_PREFIX: &str = "/bench/";

/// The end of the range of all keys of [`key`].
pub(crate) fn keys_end() -> Bytes {
    Bytes::from_static(b"/bench0")
}

fn node_path(number: u64) -> String {
    format!("{KEY_PREFIX}{number:012}")
}

async fn fill_by_transactions(client: &KvClient<Wire>, numbers: Range<u64>, value: &Bytes) -> Result<()> {
    /// etcd takes at most 128 operations in a transaction.
    const PUTS: u64 = 100;
    const TRANSACTIONS_AT_ONCE: usize = 16;
    let starts = (numbers.start..numbers.end).step_by(usize::try_from(PUTS)?);
    let transactions = starts.map(|start| {
        let puts = (start..numbers.end.min(start + PUTS)).map(|number| {
            let put = PutRequest { key: key(number), value: value.clone(), ..PutRequest::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        });
        let transaction = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
        let mut client = client.clone();
        async move { client.txn(transaction).await.map(drop) }
    });
    stream::iter(transactions).buffer_unordered(TRANSACTIONS_AT_ONCE).try_collect::<()>().await?;
    Ok(())
}

async fn fill_by_creates(session: &zookeeper::Session, numbers: Range<u64>, value: &Bytes) -> Result<()> {
    const CREATES_AT_ONCE: usize = 256;
    session.create(KEY_PREFIX.trim_end_matches('/'), b"").await?;
    let creates = numbers.map(|number| async move { session.create(&node_path(number), value).await });
    stream::iter(creates).buffer_unordered(CREATES_AT_ONCE).try_collect::<()>().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_lie_in_one_range() {
        let keys: Vec<Bytes> = [0, 9, 10, 999_999, 1_000_000].into_iter().map(key).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| key.starts_with(KEY_PREFIX.as_bytes()) && *key < keys_end()));
    }
}
