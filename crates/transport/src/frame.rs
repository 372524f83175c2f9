//! How messages are cut into frames on a connection.
//!
//! ```text
//! payload length: u32 LE | crc32c of the payload: u32 LE | payload: postcard(PeerMessage)
//! ```
//! A frame without payload is a keep-alive.

use std::io::{self, Read};

use postcard::ser_flavors::Flavor;

use crate::message::PeerMessage;

/// The largest payload that is sent or taken, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

const HEADER_BYTES: usize = 8;
/// What a reader begins with, and returns to after a large frame.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// A reader whose buffer grew beyond this gives it back once it is empty.
const IDLE_BUFFER_BYTES_MAX: usize = 4 << 20;

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
    /// The payload is not a message.
    #[error("a frame that is not a message: {0}")]
    Encoding(postcard::Error),
}

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    KeepAlive,
    Message(PeerMessage),
}

/// Appends `message` to `buffer` as one frame. On an error the buffer is as it was.
pub(crate) fn append_frame(buffer: &mut Vec<u8>, message: &PeerMessage) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let encoded = postcard::serialize_with_flavor(message, Tail(buffer)).map_err(FrameError::Encoding);
    let payload_start = start + HEADER_BYTES;
    let bytes = buffer.len() - payload_start;
    let checked =
        encoded.and(if bytes > FRAME_BYTES_MAX { Err(FrameError::TooLarge { bytes }) } else { Ok(()) });
    if checked.is_err() {
        buffer.truncate(start);
        return checked;
    }
    let length = u32::try_from(bytes).expect("checked against FRAME_BYTES_MAX, which fits 32 bits");
    let checksum = crc32c::crc32c(&buffer[payload_start..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..payload_start].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
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

/// Collects bytes and cuts frames out of them.
///
/// Invariants: `start <= end <= buffer.len()`; `buffer[start..end]` was read and not yet consumed. The buffer
/// grows only when the bytes in it have filled it, never because of a length that a peer announced.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; READ_BUFFER_BYTES], start: 0, end: 0 }
    }

    /// The next complete frame, or `None` if more bytes are needed.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let unread = &self.buffer[self.start..self.end];
        let Some((header, rest)) = unread.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let announced = u32::from_le_bytes([c0, c1, c2, c3]);
        if bytes > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes });
        }
        let Some(payload) = rest.get(..bytes) else { return Ok(None) };
        let found = crc32c::crc32c(payload);
        if found != announced {
            return Err(FrameError::Checksum { announced, found });
        }
        let frame = if payload.is_empty() { Frame::KeepAlive } else { decode(payload)? };
        self.start += HEADER_BYTES + bytes;
        Ok(Some(frame))
    }

    /// Reads once; answers how many bytes came, 0 at the end of the stream.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = source.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
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
            // Full with one unfinished frame, whose length `next_frame` has checked.
            let grown = (self.buffer.len() * 2).min(HEADER_BYTES + FRAME_BYTES_MAX);
            self.buffer.resize(grown, 0);
        }
        assert!(self.end < self.buffer.len(), "no room: end {} of {}", self.end, self.buffer.len());
    }
}

fn decode(payload: &[u8]) -> Result<Frame, FrameError> {
    let (message, rest) = postcard::take_from_bytes(payload).map_err(FrameError::Encoding)?;
    if rest.is_empty() {
        Ok(Frame::Message(message))
    } else {
        Err(FrameError::Encoding(postcard::Error::DeserializeBadEncoding))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use ruvector_protocol::message::{
        AppendOutcome, AppendRequest, AppendResponse, FollowerStamp, ForwardProposals, Heartbeat,
        HeartbeatResponse, LeaderStamp,
    };
    use ruvector_protocol::{
        ClusterTime, Entry, Envelope, GroupId, Incarnation, Index, LogPosition, Membership, Message, NodeId,
        Origin, Payload, Proposal, SnapshotMeta, Term, Timestamp,
    };

    use super::*;
    use crate::message::{ReplicaEnvelope, ReplicaMessage, SnapshotChunk, SnapshotChunkResponse, StateHash};

    fn chunk(bytes: usize) -> PeerMessage {
        let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        PeerMessage::Replica(ReplicaEnvelope {
            group: GroupId::METADATA,
            from: NodeId(1),
            to: NodeId(2),
            message: ReplicaMessage::SnapshotChunk(SnapshotChunk {
                term: Term(3),
                meta: SnapshotMeta::default(),
                total_bytes: bytes as u64,
                offset: 0,
                data: Bytes::from(data),
            }),
        })
    }

    /// Gives bytes in pieces of a fixed size, as a network does.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read_all(mut source: Pieces<'_>) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
            if reader.fill(&mut source).unwrap() == 0 {
                return Ok(frames);
            }
        }
    }

    #[test]
    fn frames_of_all_sizes_survive_being_cut_anywhere() {
        let sent: Vec<PeerMessage> = [0, 1, 100, 300_000, 7, 1_500_000, 2].map(chunk).into();
        let mut wire = Vec::new();
        for message in &sent {
            append_frame(&mut wire, message).unwrap();
            wire.extend_from_slice(&KEEP_ALIVE);
        }
        for piece in [13, 4096, 100_000, usize::MAX] {
            let frames = read_all(Pieces(&wire, piece)).unwrap();
            let expected: Vec<Frame> =
                sent.iter().flat_map(|message| [Frame::Message(message.clone()), Frame::KeepAlive]).collect();
            assert!(frames == expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut wire = Vec::new();
        append_frame(&mut wire, &chunk(100)).unwrap();
        for at in HEADER_BYTES..wire.len() {
            let mut damaged = wire.clone();
            damaged[at] ^= 0x10;
            let refused = read_all(Pieces(&damaged, usize::MAX));
            assert!(matches!(refused, Err(FrameError::Checksum { .. })), "byte {at}: {refused:?}");
        }
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_before_anything_is_allocated() {
        let mut wire = u32::MAX.to_le_bytes().to_vec();
        wire.extend_from_slice(&[0; 4]);
        let mut reader = FrameReader::new();
        reader.fill(&mut Pieces(&wire, usize::MAX)).unwrap();
        assert_eq!(reader.next_frame(), Err(FrameError::TooLarge { bytes: u32::MAX as usize }));
        assert_eq!(reader.buffer.len(), READ_BUFFER_BYTES);
    }

    #[test]
    fn an_announced_length_allocates_nothing_until_the_bytes_come() {
        let mut wire = u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes().to_vec();
        wire.extend_from_slice(&[0; 1000]);
        let mut reader = FrameReader::new();
        let mut source = Pieces(&wire, 100);
        while reader.fill(&mut source).unwrap() > 0 {
            assert_eq!(reader.next_frame(), Ok(None));
        }
        assert_eq!(reader.buffer.len(), READ_BUFFER_BYTES);
    }

    #[test]
    fn bytes_behind_the_message_are_refused() {
        let mut payload = postcard::to_stdvec(&chunk(3)).unwrap();
        payload.push(0);
        assert!(decode(&payload).is_err());
    }

    #[test]
    fn a_message_too_large_leaves_the_buffer_as_it_was() {
        let mut wire = b"before".to_vec();
        let refused = append_frame(&mut wire, &chunk(FRAME_BYTES_MAX + 1));
        assert!(matches!(refused, Err(FrameError::TooLarge { .. })), "{refused:?}");
        assert_eq!(wire, b"before");
    }

    /// One message of each kind whose size differs, all numbers as large as can be.
    fn largest_messages() -> Vec<PeerMessage> {
        const MAX: u64 = u64::MAX;
        let (group, from, to, term) = (GroupId(MAX), NodeId(MAX), NodeId(MAX - 1), Term(MAX));
        let consensus = |message| PeerMessage::Consensus(Envelope { group, from, to, term, message });
        let replica = |message| PeerMessage::Replica(ReplicaEnvelope { group, from, to, message });
        let (position, time) = (LogPosition { term, index: Index(MAX) }, ClusterTime(MAX));
        let origin =
            Origin { node: NodeId(MAX), incarnation: Incarnation(MAX), sequence: MAX, settled_below: MAX };
        let proposal = Proposal { origin, command: Bytes::from_static(b"x") };
        let payload = Payload::Command(proposal.clone());
        let entry = Entry { term, index: Index(MAX), time, payload };
        let stamp = LeaderStamp {
            sent_at: Timestamp(MAX),
            read_round: MAX,
            cluster_time: time,
            answering: Some(Timestamp(MAX)),
            leads_since: Timestamp(MAX),
            elected_with: position,
            acknowledged: Index(MAX),
        };
        // So many that what the rest of a message may take has no room for them.
        let voters = (0..100).map(|lower| NodeId(MAX - lower)).collect();
        let meta = SnapshotMeta { position, time, membership: Membership { voters } };
        let append = |count| {
            let entries = vec![entry.clone(); count];
            let commit = Index(MAX);
            consensus(Message::AppendRequest(AppendRequest { previous: position, entries, commit, stamp }))
        };
        let forward = |count| {
            let proposals = vec![proposal.clone(); count];
            consensus(Message::ForwardProposals(ForwardProposals { proposals }))
        };
        let chunk = |bytes| {
            let data = vec![0; bytes].into();
            let meta = meta.clone();
            let chunk = SnapshotChunk { term, meta, total_bytes: MAX, offset: MAX, data };
            replica(ReplicaMessage::SnapshotChunk(chunk))
        };
        let remembered = |count| vec![(NodeId(MAX), Index(MAX)); count];
        let heartbeat = |count| {
            let remembered = remembered(count);
            consensus(Message::Heartbeat(Heartbeat { commit: Index(MAX), remembered, stamp }))
        };
        let follower_stamp = FollowerStamp {
            echo: Timestamp(MAX),
            read_round: MAX,
            responded_at: Timestamp(MAX),
            incarnation: Incarnation(MAX),
            is_newcomer: true,
            promised_us: MAX,
            committed: position,
            is_contradicted: true,
        };
        let response = |count| {
            let remembered = remembered(count);
            let stamp = follower_stamp;
            consensus(Message::HeartbeatResponse(HeartbeatResponse { remembered, stamp }))
        };
        let of_count =
            |count| [append(count), forward(count), chunk(count), heartbeat(count), response(count)];
        let mut messages: Vec<_> = [0, 1, 1_000, 100_000].into_iter().flat_map(of_count).collect();
        let outcome = AppendOutcome::Rejected { previous: position, candidate: position };
        let response = AppendResponse { outcome, stamp: follower_stamp };
        messages.push(consensus(Message::AppendResponse(response)));
        let response = SnapshotChunkResponse { position, next_offset: MAX };
        messages.push(replica(ReplicaMessage::SnapshotChunkResponse(response)));
        let hash = StateHash { index: Index(MAX), hash: u128::MAX };
        messages.push(replica(ReplicaMessage::StateHash(hash)));
        messages
    }

    #[test]
    fn no_message_is_larger_than_it_says_it_can_be() {
        for message in largest_messages() {
            let mut wire = Vec::new();
            append_frame(&mut wire, &message).unwrap();
            let (bytes, bytes_max) = (wire.len() - HEADER_BYTES, message.encoded_bytes_max());
            assert!(bytes <= bytes_max, "{bytes} bytes where at most {bytes_max} were expected");
        }
    }
}
