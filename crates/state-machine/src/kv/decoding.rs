//! How fields of commands are decoded: without copying what can be shared, and no deeper than the stack allows.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::limits::TXN_DEPTH_MAX;

thread_local! {
    /// What is being decoded on this thread, if parts of it are to be shared.
    static SHARED: RefCell<Option<Bytes>> = const { RefCell::new(None) };
    /// How many nested transactions are being decoded on this thread.
    static NESTED_TXNS: Cell<usize> = const { Cell::new(0) };
}

/// Decodes a nested transaction or the answer to one, unless it is nested so deep that decoding it could exhaust the
/// stack.
pub(super) fn nested_txn<'de, D: Deserializer<'de>, Txn: Deserialize<'de>>(
    deserializer: D,
) -> Result<Txn, D::Error> {
    let _level = Level::enter().ok_or_else(|| D::Error::custom("nested too deep"))?;
    Txn::deserialize(deserializer)
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
pub(super) struct Shared;

impl Shared {
    /// Gives parts of these bytes, or of none.
    pub(super) fn lend(bytes: Option<&Bytes>) -> Self {
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
