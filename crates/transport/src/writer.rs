//! Frames that wait to be sent to one peer, the last of which takes further messages until it is sealed.

use postcard::ser_flavors::Flavor;

use crate::frame::{FRAME_BYTES_MAX, FrameError, HEADER_BYTES, KEEP_ALIVE, SHARED_BYTES_MAX};
use crate::message::PeerMessage;

/// Frames, one behind the other.
///
/// Invariants:
/// - `bytes` is made of whole frames; if the last is open, it begins at `open`, has a message, and its header is yet to
///   be filled in;
/// - a message is encoded where it stays: nothing is moved within `bytes` to make a frame of it;
/// - a payload of several messages has at most [`SHARED_BYTES_MAX`], and one of a single message [`FRAME_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
    open: Option<usize>,
}

/// What a writer held before a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    length: usize,
    open: Option<usize>,
}

impl FrameWriter {
    /// Adds a message to the open frame, or to one that it opens. Answers what there was before, for
    /// [`take_back`](Self::take_back). On an error nothing is added.
    pub(crate) fn push(&mut self, message: &PeerMessage) -> Result<Mark, FrameError> {
        self.make_room(message);
        let before = Mark { length: self.bytes.len(), open: self.open };
        let start = *self.open.get_or_insert(before.length);
        let is_shared = start < before.length;
        if !is_shared {
            self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
        }
        let begun = self.bytes.len();
        let encoded = postcard::serialize_with_flavor(message, Tail(&mut self.bytes));
        let bytes = self.bytes.len() - begun;
        if encoded.is_err() || bytes > FRAME_BYTES_MAX {
            self.take_back(before);
            return Err(encoded.map_or_else(FrameError::Encoding, |()| FrameError::TooLarge { bytes }));
        }
        let shared = self.bytes.len() - start - HEADER_BYTES;
        assert!(
            !is_shared || shared <= SHARED_BYTES_MAX,
            "several messages share {shared} bytes, the last of them has {bytes}"
        );
        Ok(before)
    }

    /// Closes the open frame if the message may be too large for it.
    fn make_room(&mut self, message: &PeerMessage) {
        let Some(start) = self.open else { return };
        let payload = self.bytes.len() - start - HEADER_BYTES;
        // A full one is sealed without asking how large the message is, which takes a look at each of its entries.
        if payload >= SHARED_BYTES_MAX || payload + message.encoded_bytes_max() > SHARED_BYTES_MAX {
            self.seal();
        }
    }

    /// Closes the open frame: from now on all bytes may be sent.
    pub(crate) fn seal(&mut self) {
        let Some(start) = self.open.take() else { return };
        let payload_start = start + HEADER_BYTES;
        let payload = &self.bytes[payload_start..];
        assert!(!payload.is_empty(), "an open frame has no message");
        let length = u32::try_from(payload.len()).expect("bounded by FRAME_BYTES_MAX, which fits 32 bits");
        let checksum = crc32c::crc32c(payload);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..payload_start].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Adds a frame that says nothing but that this node lives.
    pub(crate) fn keep_alive(&mut self) {
        self.seal();
        self.bytes.extend_from_slice(&KEEP_ALIVE);
    }

    /// Takes back the message that was pushed last, if nothing was sealed since.
    pub(crate) fn take_back(&mut self, before: Mark) {
        self.bytes.truncate(before.length);
        self.open = before.open;
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes, which are sealed.
    pub(crate) fn sealed(&self) -> &[u8] {
        assert_eq!(self.open, None, "a frame is open that is to be sent");
        &self.bytes
    }

    /// Drops the first `count` bytes, which were sent. An empty writer with more room than `idle_bytes_max` gives it back.
    pub(crate) fn drop_sent(&mut self, count: usize, idle_bytes_max: usize) {
        assert_eq!(self.open, None, "a frame is open that was sent");
        self.bytes.drain(..count);
        if self.bytes.is_empty() && self.bytes.capacity() > idle_bytes_max {
            self.bytes = Vec::new();
        }
    }
}

/// Lets postcard write at the end of a buffer that already holds something.
struct Tail<'a>(&'a mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
