//! How messages are cut into frames on a connection.
//!
//! ```text
//! payload length: u32 LE | crc32c of the payload: u32 LE | payload: postcard(PeerMessage), once or more often
//! ```
//! What is queued for a peer between two flushes shares a frame, of whatever groups it is: one header and one checksum
//! for all of it. A message tells where it ends, so nothing stands between two of them. A frame without payload is a
//! keep-alive.
//!
//! Several messages share at most [`SHARED_BYTES_MAX`]; a longer frame is of one message. So a receiver that has a frame
//! has little more at once than what a read gave it, and no message waits long for those behind it to arrive.

/// The largest payload that is sent or taken, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// The largest payload that several messages share, in bytes: about a thousand heartbeats.
pub(crate) const SHARED_BYTES_MAX: usize = 64 << 10;

pub(crate) const HEADER_BYTES: usize = 8;

/// The frame that says nothing but that the sender lives.
pub(crate) const KEEP_ALIVE: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// Why a frame can't be made or taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The announced or encoded payload is too large.
    #[error("a frame of {bytes} bytes, at most {FRAME_BYTES_MAX} are taken")]
    TooLarge { bytes: usize },
    /// The checksum does not fit.
    #[error("a frame with checksum {found:08x} where {announced:08x} was announced")]
    Checksum { announced: u32, found: u32 },
    /// The payload is not made of messages.
    #[error("a frame that is not made of messages: {0}")]
    Encoding(postcard::Error),
    /// Several messages share a frame that is too large for that.
    #[error("a frame of {bytes} bytes with several messages, which may share {SHARED_BYTES_MAX}")]
    Crowded { bytes: usize },
}
