//! Commands as bytes: one byte of format version, then postcard.

use std::cell::Cell;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::command::{Command, KvError, TxnRequest};
use super::txn::TXN_DEPTH_MAX;

/// The format that this program writes.
const FORMAT_VERSION: u8 = 1;

impl Command {
    /// The bytes for the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_extend(self, vec![FORMAT_VERSION])
            .expect("a command is plain data and a vector takes all of it")
            .into()
    }

    /// Reads what [`encode`](Self::encode) wrote. The bytes may come from another version of the program or
    /// from a broken peer: nothing is trusted, and no more memory is taken than the bytes account for.
    ///
    /// # Errors
    /// [`KvError::UnknownCommand`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KvError> {
        let body = match bytes.split_first() {
            Some((&FORMAT_VERSION, body)) => body,
            Some((version, _)) => {
                return Err(KvError::UnknownCommand(format!("format version {version} is not known")));
            }
            None => return Err(KvError::UnknownCommand("it is empty".into())),
        };
        match postcard::take_from_bytes(body) {
            Ok((command, [])) => Ok(command),
            Ok((_, rest)) => Err(KvError::UnknownCommand(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(KvError::UnknownCommand(error.to_string())),
        }
    }
}

thread_local! {
    /// How many nested transactions are being decoded on this thread.
    static NESTED_TXNS: Cell<usize> = const { Cell::new(0) };
}

/// Decodes a nested transaction, unless it is nested so deep that decoding it could exhaust the stack.
pub(super) fn nested_txn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TxnRequest, D::Error> {
    let _level = Level::enter().ok_or_else(|| D::Error::custom("nested too deep"))?;
    TxnRequest::deserialize(deserializer)
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
