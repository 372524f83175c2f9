//! Reading keys one after the other, without making an answer of them.

use super::command::{KvError, LeaseId, RangeRequest, Revision};
use super::range::within;
use super::stored::StoredVersion;
use super::view::KvView;

/// A version of a key that is visited; reading it costs nothing until it is looked into.
#[derive(Clone, Copy, Debug)]
pub struct Visited<'store>(&'store StoredVersion);

/// A version of a key where the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueRef<'store> {
    /// The key.
    pub key: &'store [u8],
    /// Its value.
    pub value: &'store [u8],
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// How many changes since creation.
    pub version: i64,
    /// The lease it is attached to.
    pub lease: Option<LeaseId>,
}

impl<'store> Visited<'store> {
    /// Its parts.
    #[must_use]
    pub fn key_value(self) -> KeyValueRef<'store> {
        let parts = self.0.parts();
        KeyValueRef {
            key: parts.key,
            value: parts.value,
            create_revision: parts.create_revision,
            mod_revision: parts.mod_revision,
            version: parts.version,
            lease: parts.lease,
        }
    }
}

impl RangeRequest {
    /// Whether its bounds of revisions let a key into the answer.
    #[must_use]
    pub fn admits(&self, kv: &KeyValueRef<'_>) -> bool {
        within(kv.mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(kv.create_revision, self.min_create_revision, self.max_create_revision)
    }
}

impl KvView {
    /// Visits the keys of a request's range that exist at its revision, ascending, until `visit` answers false. Nothing else of
    /// the request is heeded.
    ///
    /// # Errors
    /// [`KvError::Compacted`], [`KvError::FutureRevision`].
    pub fn visit(
        &self,
        request: &RangeRequest,
        mut visit: impl FnMut(Visited<'_>) -> bool,
    ) -> Result<(), KvError> {
        let point = self.store().read_point(request.revision)?;
        for version in self.store().visible(&request.range, point) {
            if !visit(Visited(version)) {
                break;
            }
        }
        Ok(())
    }
}
