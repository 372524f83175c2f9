//! Versions of keys as the store holds them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{KeyValue, LeaseId, Revision};

/// A version of a key, in one allocation that nothing else shares.
///
/// Most of a node's memory is versions, so what each of them takes beside its key and its value counts: this
/// is two reference counts and about ten bytes of counters, where a [`KeyValue`] is three allocations and
/// 200 bytes. And since it is a copy, it keeps nothing alive of the command that it came with.
///
/// The contents are the postcard encoding of [`Version`] without its value, and then the value.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredVersion(Arc<[u8]>);

/// The number of a version that is the end of a key's existence.
pub(super) const TOMBSTONE: i64 = 0;

/// The number of the version with which a key begins to exist.
pub(super) const FIRST_VERSION: i64 = 1;

/// More than [`StoredVersion`] takes beside its key and its value.
const COUNTER_BYTES_MAX: usize = 56;

/// Contents of at most so many bytes are put together on the stack, which saves them a second allocation.
const IN_PLACE_BYTES_MAX: usize = 512;

/// A version as it can be worked with: its parts, borrowed from wherever they are.
///
/// It is encoded as a [`KeyValue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version<'bytes> {
    #[serde(serialize_with = "as_bytes")]
    pub(super) key: &'bytes [u8],
    #[serde(serialize_with = "as_bytes")]
    pub(super) value: &'bytes [u8],
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) version: i64,
    pub(super) lease: Option<LeaseId>,
}

/// What stands before the value.
#[derive(Serialize, Deserialize)]
struct Front<'bytes> {
    /// These three first, so that they can be read alone.
    mod_revision: Revision,
    create_revision: Revision,
    version: i64,
    lease: Option<LeaseId>,
    #[serde(serialize_with = "as_bytes")]
    key: &'bytes [u8],
}

impl StoredVersion {
    pub(super) fn parts(&self) -> Version<'_> {
        let (front, value) = self.decode::<Front<'_>>();
        Version {
            key: front.key,
            value,
            create_revision: front.create_revision,
            mod_revision: front.mod_revision,
            version: front.version,
            lease: front.lease,
        }
    }

    pub(super) fn mod_revision(&self) -> Revision {
        self.decode().0
    }

    pub(super) fn is_tombstone(&self) -> bool {
        // Read alone, for every key that a range counts.
        let (Revision(_), Revision(_), version): (Revision, Revision, i64) = self.decode().0;
        version == TOMBSTONE
    }

    /// The version for a response. Key and value are not copied, so it keeps this version in memory.
    pub(super) fn key_value(&self) -> Arc<KeyValue> {
        let whole = Bytes::from_owner(self.clone());
        let parts = self.parts();
        Arc::new(KeyValue {
            key: whole.slice_ref(parts.key),
            value: whole.slice_ref(parts.value),
            create_revision: parts.create_revision,
            mod_revision: parts.mod_revision,
            version: parts.version,
            lease: parts.lease,
        })
    }

    /// The version for a response that does not ask for the value.
    pub(super) fn key_value_without_value(&self) -> Arc<KeyValue> {
        let parts = self.parts();
        Arc::new(KeyValue {
            key: Bytes::copy_from_slice(parts.key),
            value: Bytes::new(),
            create_revision: parts.create_revision,
            mod_revision: parts.mod_revision,
            version: parts.version,
            lease: parts.lease,
        })
    }

    fn decode<'bytes, Part: Deserialize<'bytes>>(&'bytes self) -> (Part, &'bytes [u8]) {
        postcard::take_from_bytes(&self.0).expect("it was encoded here")
    }
}

impl From<Version<'_>> for StoredVersion {
    fn from(version: Version<'_>) -> Self {
        let front = Front {
            mod_revision: version.mod_revision,
            create_revision: version.create_revision,
            version: version.version,
            lease: version.lease,
            key: version.key,
        };
        let bytes_max = COUNTER_BYTES_MAX + version.key.len() + version.value.len();
        let mut room = [0; IN_PLACE_BYTES_MAX];
        if bytes_max <= room.len() {
            let front_bytes = postcard::to_slice(&front, &mut room).expect("there is room").len();
            let (contents, _) = room.split_at_mut(front_bytes + version.value.len());
            contents[front_bytes..].copy_from_slice(version.value);
            return Self((*contents).into());
        }
        let bytes = Vec::with_capacity(bytes_max);
        let mut bytes =
            postcard::to_extend(&front, bytes).expect("it is plain data and a vector takes all of it");
        bytes.extend_from_slice(version.value);
        Self(bytes.into())
    }
}

impl AsRef<[u8]> for StoredVersion {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoredVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.parts(), formatter)
    }
}

impl<'bytes> Version<'bytes> {
    /// The end of a key's existence. It is stored as a version numbered 0.
    pub(super) fn tombstone(key: &'bytes [u8], at: Revision) -> Self {
        Self {
            key,
            value: &[],
            create_revision: Revision(0),
            mod_revision: at,
            version: TOMBSTONE,
            lease: None,
        }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.version == TOMBSTONE
    }
}

fn as_bytes<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

#[cfg(test)]
mod tests;
