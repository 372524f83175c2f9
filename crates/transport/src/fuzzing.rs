//! What comes over a connection, without a connection: for the fuzz targets.

use std::io::{self, Read};

use crate::handshake::{self, HELLO_MAGIC, HandshakeError, Hello, REPLY_MAGIC, Reply};
use crate::message::PeerMessage;
use crate::reader::FrameReader;
use crate::writer::FrameWriter;

/// Reads frames until the source ends or one can't be taken. Answers the messages, and why it ended early.
///
/// # Errors
/// Those of the source.
pub fn read_frames(source: &mut impl Read) -> io::Result<(Vec<PeerMessage>, Option<String>)> {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    while reader.fill(source)? > 0 {
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return Ok((messages, Some(error.to_string()))),
            }
        }
    }
    Ok((messages, None))
}

/// Messages as the frames that they share; `None` if one is too large for any.
#[must_use]
pub fn write_frames(messages: &[PeerMessage]) -> Option<Vec<u8>> {
    let mut frames = FrameWriter::default();
    for message in messages {
        frames.push(message).ok()?;
    }
    frames.seal();
    Some(frames.sealed().to_vec())
}

/// What the dialling side says, decoded and encoded again.
///
/// # Errors
/// Why it is refused.
pub fn hello_again(bytes: &[u8]) -> Result<Vec<u8>, String> {
    decoded::<Hello>(HELLO_MAGIC, bytes)
        .and_then(|hello| handshake::encode(HELLO_MAGIC, &hello))
        .map_err(told)
}

/// What the answering side says, decoded and encoded again.
///
/// # Errors
/// Why it is refused.
pub fn reply_again(bytes: &[u8]) -> Result<Vec<u8>, String> {
    decoded::<Reply>(REPLY_MAGIC, bytes)
        .and_then(|reply| handshake::encode(REPLY_MAGIC, &reply))
        .map_err(told)
}

fn decoded<T: serde::de::DeserializeOwned>(magic: [u8; 8], mut bytes: &[u8]) -> Result<T, HandshakeError> {
    handshake::decode(magic, |into| Ok(bytes.read_exact(into)?))
}

fn told(error: HandshakeError) -> String {
    error.to_string()
}
