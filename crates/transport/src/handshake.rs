//! What both ends say before the first frame.
//!
//! ```text
//! magic: 8 bytes | version: u32 LE | body length: u32 LE | crc32c of the body: u32 LE | body: postcard
//! ```
//! The side that dials says [`Hello`], the other answers with a [`Reply`]. Everything before the body stays as
//! it is in all versions, so that two versions can tell each other apart and say so.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ruvector_protocol::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of everything that travels between peers. Peers of different versions refuse each other.
pub(crate) const PROTOCOL_VERSION: u32 = 3;
/// How long either side may take to say its part.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the dialling side's part. Different from [`REPLY_MAGIC`], so that a connection that reached itself
/// (TCP allows it on one machine) is not taken for a peer.
pub(crate) const HELLO_MAGIC: [u8; 8] = *b"ruv-dial";
pub(crate) const REPLY_MAGIC: [u8; 8] = *b"ruv-answ";
const PREFIX_BYTES: usize = 20;
const BODY_BYTES_MAX: usize = 1024;
/// The longest client address that fits a body beside everything else, in bytes.
pub(crate) const CLIENT_ADDRESS_BYTES_MAX: usize = 512;

/// Who dials, and whom it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster_id: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// Where clients reach the side that dials; may be empty.
    pub(crate) client_address: String,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Send.
    Welcome {
        /// Where clients reach the side that answers; may be empty.
        client_address: String,
    },
    /// The connection will be closed.
    Refused(Refusal),
}

/// Why a peer is refused; the text is for the side that dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    /// Told by the prefix's version, before the body is looked at.
    #[error("it speaks version {answering} of the peer protocol, this node version {PROTOCOL_VERSION}")]
    Version { answering: u32 },
    #[error("it belongs to another cluster, {answering:016x}")]
    Cluster { answering: u64 },
    #[error("it is node {:x}, which is not the node expected at this address", answering.0)]
    Recipient { answering: NodeId },
    #[error("it does not know this node as a member of the cluster")]
    UnknownSender,
}

/// Why a handshake did not end with a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    #[error("what came is not this program's peer protocol")]
    NotAPeer,
    #[error("it speaks version {theirs} of the peer protocol, this node version {PROTOCOL_VERSION}")]
    Version { theirs: u32 },
    #[error("the handshake is damaged")]
    Malformed,
    #[error("{0}")]
    Refused(Refusal),
}

/// The dialling side: says `hello`, answers with the peer's client address.
pub(crate) fn dial(stream: &TcpStream, hello: &Hello) -> Result<String, HandshakeError> {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    write(stream, &encode(HELLO_MAGIC, hello)?)?;
    match decode(REPLY_MAGIC, |into| read_exact(stream, into, deadline)) {
        Ok(Reply::Welcome { client_address }) => Ok(client_address),
        Ok(Reply::Refused(refusal)) => Err(HandshakeError::Refused(refusal)),
        Err(HandshakeError::Version { theirs }) => {
            Err(HandshakeError::Refused(Refusal::Version { answering: theirs }))
        }
        Err(error) => Err(error),
    }
}

/// The answering side, first half: hears who dials.
pub(crate) fn hear(stream: &TcpStream) -> Result<Hello, HandshakeError> {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    decode(HELLO_MAGIC, |into| read_exact(stream, into, deadline))
}

/// The answering side, second half.
pub(crate) fn answer(stream: &TcpStream, reply: &Reply) -> Result<(), HandshakeError> {
    write(stream, &encode(REPLY_MAGIC, reply)?)
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Result<(), HandshakeError> {
    stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.write_all(bytes)?;
    Ok(())
}

/// One side's part, as it goes over the connection.
pub(crate) fn encode(magic: [u8; 8], body: &impl Serialize) -> Result<Vec<u8>, HandshakeError> {
    let body = postcard::to_stdvec(body).map_err(|_| HandshakeError::Malformed)?;
    assert!(body.len() <= BODY_BYTES_MAX, "a handshake of {} bytes", body.len());
    let length = u32::try_from(body.len()).expect("checked against BODY_BYTES_MAX");
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + body.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// One side's part, taken from what `read_exact` fills its buffers with.
pub(crate) fn decode<T: DeserializeOwned>(
    magic: [u8; 8],
    mut read_exact: impl FnMut(&mut [u8]) -> Result<(), HandshakeError>,
) -> Result<T, HandshakeError> {
    let mut prefix = [0; PREFIX_BYTES];
    // The magic alone first: something else that speaks less than a prefix is told at once.
    read_exact(&mut prefix[..8])?;
    if prefix[..8] != magic {
        return Err(HandshakeError::NotAPeer);
    }
    read_exact(&mut prefix[8..])?;
    let number =
        |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("a slice of four bytes"));
    let (theirs, length, checksum) = (number(8), number(12) as usize, number(16));
    if theirs != PROTOCOL_VERSION {
        return Err(HandshakeError::Version { theirs });
    }
    if length > BODY_BYTES_MAX {
        return Err(HandshakeError::Malformed);
    }
    let mut body = vec![0; length];
    read_exact(&mut body)?;
    if crc32c::crc32c(&body) != checksum {
        return Err(HandshakeError::Malformed);
    }
    postcard::from_bytes(&body).map_err(|_| HandshakeError::Malformed)
}

/// Fills `into`, however slowly the bytes drip, but not beyond `deadline`.
fn read_exact(mut stream: &TcpStream, into: &mut [u8], deadline: Instant) -> Result<(), HandshakeError> {
    let mut filled = 0;
    while filled < into.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HandshakeError::TimedOut);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut into[filled..]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if is_timeout(&error) => return Err(HandshakeError::TimedOut),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a blocking read ended because its timeout passed.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::TimedOut
}
