//! Cutting what arrives on a connection into messages.

use std::io::{self, Read};

use crate::frame::{FRAME_BYTES_MAX, FrameError, HEADER_BYTES, SHARED_BYTES_MAX};
use crate::message::PeerMessage;

/// What a reader begins with, and returns to after a large frame.
pub(crate) const READ_BUFFER_BYTES: usize = 256 << 10;
/// A reader whose buffer grew beyond this gives it back once it is empty.
const IDLE_BUFFER_BYTES_MAX: usize = 4 << 20;

/// Collects bytes and takes messages out of them.
///
/// Invariants: `start <= start + checked <= end <= buffer.len()`; `buffer[start..end]` was read and not yet consumed, and
/// its first `checked` bytes are what is left of a frame whose checksum is right. The buffer grows only when the bytes in
/// it have filled it, never because of a length that a peer announced.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    checked: usize,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; READ_BUFFER_BYTES], start: 0, end: 0, checked: 0 }
    }

    /// The next message of a complete frame, or `None` if more bytes are needed. Nothing of a frame is given that was
    /// damaged on its way. After an error the connection is of no more use.
    pub(crate) fn next_message(&mut self) -> Result<Option<PeerMessage>, FrameError> {
        while self.checked == 0 {
            if !self.check_frame()? {
                return Ok(None);
            }
        }
        let left = &self.buffer[self.start..self.start + self.checked];
        let (message, rest) = postcard::take_from_bytes(left).map_err(FrameError::Encoding)?;
        if !rest.is_empty() && left.len() > SHARED_BYTES_MAX {
            return Err(FrameError::Crowded { bytes: left.len() });
        }
        let taken = left.len() - rest.len();
        assert!(taken > 0, "a message of no bytes");
        self.start += taken;
        self.checked -= taken;
        Ok(Some(message))
    }

    /// Sees that the next frame is whole, and takes its header off; returns whether it is there. A keep-alive is taken
    /// whole.
    fn check_frame(&mut self) -> Result<bool, FrameError> {
        let unread = &self.buffer[self.start..self.end];
        let Some((header, rest)) = unread.split_first_chunk::<HEADER_BYTES>() else { return Ok(false) };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let announced = u32::from_le_bytes([c0, c1, c2, c3]);
        if bytes > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes });
        }
        let Some(payload) = rest.get(..bytes) else { return Ok(false) };
        let found = crc32c::crc32c(payload);
        if found != announced {
            return Err(FrameError::Checksum { announced, found });
        }
        self.start += HEADER_BYTES;
        self.checked = bytes;
        Ok(true)
    }

    /// Reads once; answers how many bytes came, 0 at the end of the stream.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = source.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// How much is allocated.
    #[cfg(test)]
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > IDLE_BUFFER_BYTES_MAX {
                self.buffer = vec![0; READ_BUFFER_BYTES];
            }
        }
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            // Full with one unfinished frame, whose length `check_frame` has checked.
            let grown = (self.buffer.len() * 2).min(HEADER_BYTES + FRAME_BYTES_MAX);
            self.buffer.resize(grown, 0);
        }
        assert!(self.end < self.buffer.len(), "no room: end {} of {}", self.end, self.buffer.len());
    }
}
