//! A change on its way to everybody who watches its key.

use std::sync::OnceLock;

use ruvector_node::state_machine::kv::{Event, Revision};

/// What one change takes beyond keys and values, in bytes: an upper estimate of the numbers and lengths of two
/// key-values as they are told.
const OVERHEAD_BYTES: usize = 128;

/// A change on its way to everybody who watches its key, shared by all of them. The first that is told of it
/// encodes it, and the others are told the same bytes. There are two forms, since only some want to know what was
/// before.
///
/// The bytes are those of the one protocol that has watches. With a second one there will be a place for its bytes,
/// too.
#[derive(Debug)]
pub(crate) struct Change {
    event: Event,
    without_previous: OnceLock<Box<[u8]>>,
    with_previous: OnceLock<Box<[u8]>>,
}

impl Change {
    pub(crate) fn new(event: Event) -> Self {
        Self { event, without_previous: OnceLock::new(), with_previous: OnceLock::new() }
    }

    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    pub(crate) fn revision(&self) -> Revision {
        self.event.kv.mod_revision
    }

    /// About what it takes as it is told or in memory, in bytes, without encoding it.
    pub(crate) fn bytes(&self) -> usize {
        let previous = self.event.prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        OVERHEAD_BYTES + self.event.kv.key.len() + self.event.kv.value.len() + previous
    }

    /// The bytes in which it is told, with what was before if that is wanted and there was something. Whoever is
    /// first makes them.
    pub(crate) fn encoded(
        &self,
        with_previous: bool,
        encode: impl FnOnce(&Event, bool) -> Box<[u8]>,
    ) -> &[u8] {
        let with_previous = with_previous && self.event.prev_kv.is_some();
        let form = if with_previous { &self.with_previous } else { &self.without_previous };
        form.get_or_init(|| encode(&self.event, with_previous))
    }
}
