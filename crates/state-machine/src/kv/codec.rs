//! Commands as bytes: one byte of format version, then postcard.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::command::{Command, KvError, PutRequest, TxnRequest};
use super::txn::TXN_DEPTH_MAX;

/// The format that this program writes.
const FORMAT_VERSION: u8 = 1;
/// The byte behind the version that says that the command is a put.
const PUT: u8 = 0;
/// More than a put takes beside its key and its value.
const PUT_OVERHEAD_BYTES: usize = 32;

impl Command {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let put_bytes = |put: &PutRequest| put.key.len() + put.value.len() + PUT_OVERHEAD_BYTES;
        let mut bytes = Vec::with_capacity(if let Self::Put(put) = self { put_bytes(put) } else { 0 });
        bytes.push(FORMAT_VERSION);
        postcard::to_extend(self, bytes).expect("a command is plain data and a vector takes all of it").into()
    }

    /// Reads what [`encode`](Self::encode) wrote. The bytes may come from another version of the program or
    /// from a broken peer: nothing is trusted, and no more memory is taken than the bytes account for.
    ///
    /// The key and the value of a put are parts of `bytes`, and keep them in memory.
    ///
    /// # Errors
    /// [`KvError::UnknownCommand`].
    pub fn decode(bytes: &Bytes) -> Result<Self, KvError> {
        let body = match bytes.split_first() {
            Some((&FORMAT_VERSION, body)) => body,
            Some((version, _)) => {
                return Err(KvError::UnknownCommand(format!("format version {version} is not known")));
            }
            None => return Err(KvError::UnknownCommand("it is empty".into())),
        };
        // Only of a put: of a transaction, one value that lasts would keep all others in memory.
        let _shared = Shared::lend((body.first() == Some(&PUT)).then_some(bytes));
        match postcard::take_from_bytes(body) {
            Ok((command, [])) => Ok(command),
            Ok((_, rest)) => Err(KvError::UnknownCommand(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(KvError::UnknownCommand(error.to_string())),
        }
    }
}

thread_local! {
    /// What is being decoded on this thread, if parts of it are to be shared.
    static SHARED: RefCell<Option<Bytes>> = const { RefCell::new(None) };
    /// How many nested transactions are being decoded on this thread.
    static NESTED_TXNS: Cell<usize> = const { Cell::new(0) };
}

/// Decodes a nested transaction, unless it is nested so deep that decoding it could exhaust the stack.
pub(super) fn nested_txn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TxnRequest, D::Error> {
    let _level = Level::enter().ok_or_else(|| D::Error::custom("nested too deep"))?;
    TxnRequest::deserialize(deserializer)
}

/// Decodes bytes as a part of what is being decoded, or as a copy if that is not to be shared.
pub(super) fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let part = <&'de [u8]>::deserialize(deserializer)?;
    Ok(SHARED.with_borrow(|shared| match shared {
        Some(whole) => whole.slice_ref(part),
        None => Bytes::copy_from_slice(part),
    }))
}

/// Bytes that [`shared`] may give parts of, until dropped.
struct Shared;

impl Shared {
    fn lend(bytes: Option<&Bytes>) -> Self {
        SHARED.set(bytes.cloned());
        Self
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        SHARED.set(None);
    }
}

/// One level of nesting, left when dropped.
struct Level;

impl Level {
    fn enter() -> Option<Self> {
        NESTED_TXNS.with(|nested| {
            // The outermost transaction is not nested and was not counted.
            if nested.get() + 1 >= TXN_DEPTH_MAX {
                return None;
            }
            nested.set(nested.get() + 1);
            Some(Self)
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        NESTED_TXNS.with(|nested| nested.set(nested.get() - 1));
    }
}
