//! Frames as they are written and read again.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read};

use bytes::Bytes;
use ruvector_protocol::message::{
    AppendOutcome, AppendRequest, AppendResponse, FollowerStamp, ForwardProposals, Heartbeat,
    HeartbeatResponse, LeaderStamp,
};
use ruvector_protocol::{
    ClusterTime, Entry, Envelope, GroupId, Incarnation, Index, LogPosition, Membership, Message, NodeId,
    Origin, Payload, Proposal, SnapshotMeta, Term, Timestamp,
};

use crate::frame::{FRAME_BYTES_MAX, FrameError, HEADER_BYTES, KEEP_ALIVE, SHARED_BYTES_MAX};
use crate::message::{
    PeerMessage, ReplicaEnvelope, ReplicaMessage, SnapshotChunk, SnapshotChunkResponse, StateHash,
};
use crate::reader::{FrameReader, READ_BUFFER_BYTES};
use crate::writer::FrameWriter;

/// A piece of so many bytes of a snapshot of a group.
fn chunk_of(group: u64, bytes: usize) -> PeerMessage {
    let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    PeerMessage::Replica(ReplicaEnvelope {
        group: GroupId(group),
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

fn chunk(bytes: usize) -> PeerMessage {
    chunk_of(1, bytes)
}

fn encoded(message: &PeerMessage) -> Vec<u8> {
    postcard::to_stdvec(message).unwrap()
}

/// The bytes of messages that are flushed at once.
fn flushed(messages: &[PeerMessage]) -> Vec<u8> {
    let mut frames = FrameWriter::default();
    for message in messages {
        frames.push(message).unwrap();
    }
    frames.seal();
    frames.sealed().to_vec()
}

/// A frame with a right checksum.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What the frames have beside their headers.
fn payloads(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((header, rest)) = wire.split_first_chunk::<HEADER_BYTES>() {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let (payload, behind) = rest.split_at(length);
        payloads.push(payload);
        wire = behind;
    }
    payloads
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

/// The messages that arrive, and why they end early.
fn read_all(mut source: Pieces<'_>) -> (Vec<PeerMessage>, Option<FrameError>) {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    loop {
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        if reader.fill(&mut source).unwrap() == 0 {
            return (messages, None);
        }
    }
}

#[test]
fn messages_of_all_sizes_survive_being_cut_anywhere_alone_or_together() {
    let sent: Vec<PeerMessage> = [0, 1, 100, 300_000, 7, 1_500_000, 2, 3].map(chunk).into();
    let mut alone = FrameWriter::default();
    for message in &sent {
        alone.push(message).unwrap();
        alone.keep_alive();
    }
    for wire in [alone.sealed().to_vec(), flushed(&sent)] {
        for piece in [13, 4096, 100_000, usize::MAX] {
            let (messages, refusal) = read_all(Pieces(&wire, piece));
            assert!(messages == sent, "pieces of {piece}");
            assert_eq!(refusal, None, "pieces of {piece}");
        }
    }
}

#[test]
fn messages_of_many_groups_share_a_frame_and_arrive_in_order() {
    let sent: Vec<PeerMessage> = (0..300).map(|number| chunk_of(number % 100, 30)).collect();
    let wire = flushed(&sent);
    let bytes: usize = sent.iter().map(|message| encoded(message).len()).sum();
    assert_eq!(wire.len(), HEADER_BYTES + bytes, "one header, and nothing between the messages");
    assert_eq!(read_all(Pieces(&wire, usize::MAX)), (sent, None));
}

#[test]
fn a_frame_ends_where_another_message_might_not_fit() {
    let small = chunk(1_000);
    let wire = flushed(&vec![small.clone(); 200]);
    let payloads = payloads(&wire);
    let (last, full) = payloads.split_last().unwrap();
    assert_eq!(full.len(), 3, "frames of {:?} bytes", payloads.iter().map(|of| of.len()).collect::<Vec<_>>());
    for payload in full {
        let filled = payload.len() + small.encoded_bytes_max();
        assert!(payload.len() <= SHARED_BYTES_MAX && filled > SHARED_BYTES_MAX, "{} bytes", payload.len());
    }
    assert!(last.len() <= SHARED_BYTES_MAX);
    assert_eq!(read_all(Pieces(&wire, usize::MAX)), (vec![small; 200], None));
}

#[test]
fn a_message_that_is_too_large_to_share_is_alone() {
    let sent = [chunk(1), chunk(SHARED_BYTES_MAX), chunk(2), chunk(3)];
    let wire = flushed(&sent);
    let [first, alone, shared] = payloads(&wire).try_into().unwrap();
    assert_eq!((first, alone), (&*encoded(&sent[0]), &*encoded(&sent[1])));
    assert_eq!(shared, [encoded(&sent[2]), encoded(&sent[3])].concat());
    assert_eq!(read_all(Pieces(&wire, usize::MAX)), (sent.to_vec(), None));
}

#[test]
fn what_was_sealed_takes_no_more() {
    let sent = [chunk(1), chunk(2)];
    let mut frames = FrameWriter::default();
    for message in &sent {
        frames.push(message).unwrap();
        frames.seal();
    }
    assert_eq!(frames.sealed(), sent.map(|message| frame(&encoded(&message))).concat());
}

#[test]
fn a_flipped_bit_is_noticed_before_anything_of_the_frame_is_believed() {
    let wire = flushed(&[chunk(20), chunk_of(2, 30), chunk(40)]);
    for at in HEADER_BYTES..wire.len() {
        let mut damaged = wire.clone();
        damaged[at] ^= 0x10;
        let (messages, refusal) = read_all(Pieces(&damaged, usize::MAX));
        assert!(matches!(refusal, Some(FrameError::Checksum { .. })), "byte {at}: {refusal:?}");
        assert_eq!(messages, [], "byte {at}");
    }
}

#[test]
fn what_is_no_message_behind_one_is_refused() {
    for garbage in [&[0_u8; 1][..], &[0xff; 3]] {
        let payload = [&encoded(&chunk(3)), garbage].concat();
        let (_, refusal) = read_all(Pieces(&frame(&payload), usize::MAX));
        assert!(matches!(refusal, Some(FrameError::Encoding(_))), "{garbage:?}: {refusal:?}");
    }
}

#[test]
fn a_long_frame_of_several_messages_is_refused() {
    let small = encoded(&chunk(1_000));
    let count = SHARED_BYTES_MAX / small.len();
    let (messages, refusal) = read_all(Pieces(&frame(&small.repeat(count)), usize::MAX));
    assert_eq!((messages.len(), refusal), (count, None));
    let payload = small.repeat(count + 1);
    let (messages, refusal) = read_all(Pieces(&frame(&payload), usize::MAX));
    assert_eq!((messages.len(), refusal), (0, Some(FrameError::Crowded { bytes: payload.len() })));
}

#[test]
fn an_announced_length_over_the_limit_is_refused_before_anything_is_allocated() {
    let mut wire = u32::MAX.to_le_bytes().to_vec();
    wire.extend_from_slice(&[0; 4]);
    let mut reader = FrameReader::new();
    reader.fill(&mut Pieces(&wire, usize::MAX)).unwrap();
    assert_eq!(reader.next_message(), Err(FrameError::TooLarge { bytes: u32::MAX as usize }));
    assert_eq!(reader.buffer_bytes(), READ_BUFFER_BYTES);
}

#[test]
fn an_announced_length_allocates_nothing_until_the_bytes_come() {
    let mut wire = u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes().to_vec();
    wire.extend_from_slice(&[0; 1000]);
    let mut reader = FrameReader::new();
    let mut source = Pieces(&wire, 100);
    while reader.fill(&mut source).unwrap() > 0 {
        assert_eq!(reader.next_message(), Ok(None));
    }
    assert_eq!(reader.buffer_bytes(), READ_BUFFER_BYTES);
}

#[test]
fn a_message_too_large_leaves_what_is_queued_as_it_was() {
    for queued in [vec![], vec![chunk(1)]] {
        let mut frames = FrameWriter::default();
        for message in &queued {
            frames.push(message).unwrap();
        }
        let refused = frames.push(&chunk(FRAME_BYTES_MAX + 1)).map(drop);
        assert!(matches!(refused, Err(FrameError::TooLarge { .. })), "{refused:?}");
        frames.push(&chunk(2)).unwrap();
        frames.seal();
        let expected = [queued, vec![chunk(2)]].concat();
        assert_eq!(read_all(Pieces(frames.sealed(), usize::MAX)), (expected, None));
    }
}

#[test]
fn a_message_that_is_taken_back_leaves_no_trace() {
    for queued in [vec![], vec![chunk(1)]] {
        let mut frames = FrameWriter::default();
        for message in &queued {
            frames.push(message).unwrap();
        }
        let before = frames.push(&chunk(100)).unwrap();
        frames.take_back(before);
        frames.seal();
        assert_eq!(frames.sealed(), flushed(&queued));
    }
    assert_eq!(payloads(&KEEP_ALIVE), [&[]], "a keep-alive is a frame without messages");
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
    let of_count = |count| [append(count), forward(count), chunk(count), heartbeat(count), response(count)];
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
        let (bytes, bytes_max) = (encoded(&message).len(), message.encoded_bytes_max());
        assert!(bytes <= bytes_max, "{bytes} bytes where at most {bytes_max} were expected");
    }
}
