//! What a peer, or a stranger on the peers' port, sends: the handshake and frames, of any bytes and cut anywhere.
//!
//! What must hold: no panic; a length that is only announced takes no memory; what is taken for a message or a
//! handshake is the same again after it was encoded and decoded once more; and how a stream is cut into pieces
//! changes nothing. Half of the inputs get right checksums, or nothing would come to the decoder.

#![no_main]

use std::io::{self, Read};

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::{byte, number, piece, within_memory};
use ruvector_transport::PeerMessage;
use ruvector_transport::fuzzing::{hello_again, read_frames, reply_again, write_frames};

/// Two buffers of a connection, which begin with 256 KiB.
const MEMORY_FIXED_BYTES: usize = 1 << 20;
/// An entry without a command is a few bytes on the wire and about a hundred in memory; a stream is read twice.
const MEMORY_FACTOR: usize = 400;

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    match byte(&mut input) % 4 {
        0 => handshake(input.take_rest()),
        1 => sealed_handshake(&mut input),
        2 => {
            frames(1 + usize::from(number(&mut input)), input.take_rest());
        }
        _ => sealed_frames(&mut input),
    }
}

fn handshake(bytes: &[u8]) {
    for again in [hello_again, reply_again] {
        if let Ok(first) = again(bytes) {
            assert_eq!(again(&first), Ok(first.clone()), "a handshake changes by being encoded");
        }
    }
}

fn sealed_handshake(input: &mut Unstructured<'_>) {
    let magic = if byte(input) < 128 { b"ruv-dial" } else { b"ruv-answ" };
    let body = piece(input);
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&3_u32.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("an input is short").to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    handshake(&bytes);
}

fn sealed_frames(input: &mut Unstructured<'_>) {
    let piece_bytes = 1 + usize::from(number(input));
    let mut bytes = Vec::new();
    while !input.is_empty() {
        let payload = piece(input);
        bytes.extend_from_slice(&u32::try_from(payload.len()).expect("an input is short").to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    let messages = frames(piece_bytes, &bytes);
    let again = write_frames(&messages).expect("what came in a frame fits one");
    assert_eq!(read(&again), (messages, None), "a message changes by being encoded");
}

fn frames(piece_bytes: usize, bytes: &[u8]) -> Vec<PeerMessage> {
    let (messages, refusal) = read(bytes);
    let cut = read_frames(&mut Pieces { bytes, piece_bytes }).expect("bytes in memory can be read");
    assert_eq!(
        cut,
        (messages.clone(), refusal),
        "in pieces of {piece_bytes} bytes a stream says something else"
    );
    messages
}

fn read(mut bytes: &[u8]) -> (Vec<PeerMessage>, Option<String>) {
    read_frames(&mut bytes).expect("bytes in memory can be read")
}

/// Gives bytes as a network does.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.piece_bytes.min(into.len());
        self.bytes.read(&mut into[..count])
    }
}
