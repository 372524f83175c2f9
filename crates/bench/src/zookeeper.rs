//! As much of ZooKeeper's client protocol as a load needs: sessions, `create`, `setData`, `getData`.
//!
//! Every packet is a length of four bytes and that many bytes of "jute": big-endian integers, strings and buffers
//! with a length before them (`zookeeper.jute` in ZooKeeper's source). A server answers a connection's requests in
//! the order in which they came, so many may be under way at once.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A longer packet is no answer of ZooKeeper's, whose own limit is a megabyte.
const PACKET_BYTES_MAX: usize = 4 << 20;
/// Calls that wait to be written; a caller waits while there are so many.
const CALLS_MAX: usize = 1024;
/// A session that is silent for longer ends. No load is silent for so long.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;

/// Error codes of `KeeperException.Code`.
const NODE_EXISTS: i32 = -110;

/// A session. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    calls: mpsc::Sender<Call>,
}

impl Session {
    /// Opens a session with the server at `host:port`.
    ///
    /// # Errors
    /// If nobody answers there, or not as ZooKeeper does, or the server has no quorum.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&connect_request(SESSION_TIMEOUT)).await?;
        let answer = read_packet(&mut stream).await.context("the server refuses the session")?;
        require_session(answer)?;
        let (read, write) = stream.into_split();
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        let (sent, unanswered) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_answers(read, unanswered));
        tokio::spawn(write_calls(write, waiting, sent, reader));
        Ok(Self { calls })
    }

    /// Makes a node. That it exists already is no error.
    pub(crate) async fn create(&self, path: &str, data: &[u8]) -> Result<()> {
        let answer = self.call(CREATE, create_body(path, data)).await?;
        match answer.error {
            0 | NODE_EXISTS => Ok(()),
            error => bail!("create {path}: ZooKeeper's error {error}"),
        }
    }

    /// Replaces a node's data, whatever its version.
    pub(crate) async fn set_data(&self, path: &str, data: &[u8]) -> Result<()> {
        let answer = self.call(SET_DATA, set_data_body(path, data)).await?;
        ensure!(answer.error == 0, "setData {path}: ZooKeeper's error {}", answer.error);
        Ok(())
    }

    /// A node's data as this server has it.
    pub(crate) async fn get_data(&self, path: &str) -> Result<Bytes> {
        let mut answer = self.call(GET_DATA, get_data_body(path)).await?;
        ensure!(answer.error == 0, "getData {path}: ZooKeeper's error {}", answer.error);
        take_buffer(&mut answer.body)
    }

    async fn call(&self, operation: i32, body: BytesMut) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { operation, body, answer }).await.ok().context("the connection is gone")?;
        answered.await.context("the connection is gone")
    }
}

/// A request on its way, and who waits for the answer.
#[derive(Debug)]
struct Call {
    operation: i32,
    body: BytesMut,
    answer: oneshot::Sender<Answer>,
}

/// `ReplyHeader` without what nobody here needs, and what follows it.
#[derive(Debug)]
struct Answer {
    number: i32,
    error: i32,
    body: Bytes,
}

/// Ends when all sessions are dropped or the connection breaks; callers learn it by their dropped channels.
async fn write_calls(
    mut stream: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Call>,
    sent: mpsc::UnboundedSender<(i32, oneshot::Sender<Answer>)>,
    reader: JoinHandle<Result<()>>,
) {
    let mut number = 0_i32;
    let mut calls = Vec::new();
    let mut packets = BytesMut::new();
    while waiting.recv_many(&mut calls, CALLS_MAX).await > 0 {
        for call in calls.drain(..) {
            number = number.wrapping_add(1).max(1);
            put_request(&mut packets, number, call.operation, &call.body);
            // Refused if the reader has ended: then the answer's sender is dropped, which tells the caller.
            let _ = sent.send((number, call.answer));
        }
        if reader.is_finished() || stream.write_all_buf(&mut packets).await.is_err() {
            break;
        }
    }
    reader.abort();
}

async fn read_answers(
    mut stream: OwnedReadHalf,
    mut unanswered: mpsc::UnboundedReceiver<(i32, oneshot::Sender<Answer>)>,
) -> Result<()> {
    let mut received = BytesMut::with_capacity(64 << 10);
    loop {
        while let Some(packet) = split_packet(&mut received)? {
            let answer = take_answer(packet)?;
            // Negative numbers are not answers but pings and watch events.
            if answer.number < 0 {
                continue;
            }
            let (number, waiting) = unanswered.recv().await.context("an answer without a question")?;
            ensure!(number == answer.number, "answer {} comes where {number} is due", answer.number);
            // The caller may have given up.
            let _ = waiting.send(answer);
        }
        ensure!(stream.read_buf(&mut received).await? > 0, "the server has closed the connection");
    }
}

async fn read_packet(stream: &mut TcpStream) -> Result<Bytes> {
    let length = usize::try_from(stream.read_i32().await?).context("a negative length")?;
    ensure!(length <= PACKET_BYTES_MAX, "a packet of {length} bytes");
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(packet.into())
}

/// The first packet, if all of it is there.
fn split_packet(received: &mut BytesMut) -> Result<Option<Bytes>> {
    let Some(header) = received.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*header)).context("a negative length")?;
    ensure!(length <= PACKET_BYTES_MAX, "a packet of {length} bytes");
    if received.len() < 4 + length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

/// `ConnectRequest`: a new session, with a server that may write.
fn connect_request(session_timeout: Duration) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i32(0); // the protocol's version
    body.put_i64(0); // the last transaction seen
    body.put_i32(i32::try_from(session_timeout.as_millis()).unwrap_or(i32::MAX));
    body.put_i64(0); // no session yet
    put_buffer(&mut body, &[0; 16]);
    body.put_u8(0); // a read-only server won't do
    with_length(&body)
}

/// `ConnectResponse`: version, timeout, session, password.
fn require_session(mut answer: Bytes) -> Result<()> {
    answer.try_get_i32()?;
    let timeout_ms = answer.try_get_i32()?;
    ensure!(timeout_ms > 0, "the server refuses the session");
    Ok(())
}

fn put_request(packets: &mut BytesMut, number: i32, operation: i32, body: &[u8]) {
    packets.put_i32(length(body.len() + 8));
    packets.put_i32(number);
    packets.put_i32(operation);
    packets.put_slice(body);
}

fn create_body(path: &str, data: &[u8]) -> BytesMut {
    const ALL_PERMISSIONS: i32 = 31;
    let mut body = BytesMut::new();
    put_buffer(&mut body, path.as_bytes());
    put_buffer(&mut body, data);
    body.put_i32(1); // one entry of the access control list
    body.put_i32(ALL_PERMISSIONS);
    put_buffer(&mut body, b"world");
    put_buffer(&mut body, b"anyone");
    body.put_i32(0); // no flags: a lasting node
    body
}

fn set_data_body(path: &str, data: &[u8]) -> BytesMut {
    const ANY_VERSION: i32 = -1;
    let mut body = BytesMut::with_capacity(path.len() + data.len() + 12);
    put_buffer(&mut body, path.as_bytes());
    put_buffer(&mut body, data);
    body.put_i32(ANY_VERSION);
    body
}

fn get_data_body(path: &str) -> BytesMut {
    let mut body = BytesMut::with_capacity(path.len() + 5);
    put_buffer(&mut body, path.as_bytes());
    body.put_u8(0); // no watch
    body
}

/// `ReplyHeader` (number, transaction, error) and the rest.
fn take_answer(mut packet: Bytes) -> Result<Answer> {
    let number = packet.try_get_i32()?;
    packet.try_get_i64()?;
    let error = packet.try_get_i32()?;
    Ok(Answer { number, error, body: packet })
}

fn put_buffer(body: &mut BytesMut, data: &[u8]) {
    body.put_i32(length(data.len()));
    body.put_slice(data);
}

fn take_buffer(body: &mut Bytes) -> Result<Bytes> {
    // A length of -1 stands for no data.
    let length = usize::try_from(body.try_get_i32()?).unwrap_or(0);
    ensure!(length <= body.len(), "a buffer of {length} bytes in a packet with {} left", body.len());
    Ok(body.split_to(length))
}

fn with_length(body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::with_capacity(body.len() + 4);
    put_buffer(&mut packet, body);
    packet
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a load's packets are small")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_zookeeper_wants_them() {
        let mut packet = BytesMut::new();
        put_request(&mut packet, 7, SET_DATA, &set_data_body("/a", b"xyz"));
        let expected: &[u8] = b"\0\0\0\x19\0\0\0\x07\0\0\0\x05\0\0\0\x02/a\0\0\0\x03xyz\xff\xff\xff\xff";
        assert_eq!(&packet[..], expected);

        let mut packet = BytesMut::new();
        put_request(&mut packet, 1, GET_DATA, &get_data_body("/a"));
        assert_eq!(&packet[..], b"\0\0\0\x0f\0\0\0\x01\0\0\0\x04\0\0\0\x02/a\0");

        let create = create_body("/a", b"");
        let expected: &[u8] =
            b"\0\0\0\x02/a\0\0\0\0\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\0";
        assert_eq!(&create[..], expected);

        let connect = connect_request(Duration::from_secs(30));
        assert_eq!(connect.len(), 4 + 4 + 8 + 4 + 8 + 4 + 16 + 1);
        assert_eq!(connect[..4], 45_i32.to_be_bytes());
        assert_eq!(connect[16..20], 30_000_i32.to_be_bytes());
    }

    #[test]
    fn packets_are_found_however_they_arrive() {
        let mut stream = BytesMut::new();
        for byte in b"\0\0\0\x02ab\0\0\0\0\0\0\0" {
            assert!(stream.len() < 6 || stream[..3] == [0; 3]);
            stream.put_u8(*byte);
        }
        assert_eq!(split_packet(&mut stream).unwrap().unwrap(), "ab");
        assert_eq!(split_packet(&mut stream).unwrap().unwrap(), "");
        assert_eq!(split_packet(&mut stream).unwrap(), None);
        stream.put_slice(b"\x01x");
        assert_eq!(split_packet(&mut stream).unwrap().unwrap(), "x");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for length in [-1_i32, i32::MAX] {
            let mut stream = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(split_packet(&mut stream).is_err());
        }
        assert!(take_answer(Bytes::from_static(&[0; 15])).is_err());
        assert!(take_buffer(&mut Bytes::from_static(b"\0\0\0\x05four")).is_err());
        assert_eq!(take_buffer(&mut Bytes::from_static(b"\xff\xff\xff\xff")).unwrap(), "");
        assert!(require_session(Bytes::from_static(&[0; 37])).is_err());
    }

    /// A server that answers what it is asked for in batches, with a watch event in between.
    async fn answer_in_batches(listener: tokio::net::TcpListener, batch: usize) -> Result<()> {
        let (mut stream, _) = listener.accept().await?;
        read_packet(&mut stream).await?;
        stream.write_all(&with_length(&[&[0; 4][..], &30_000_i32.to_be_bytes(), &[0; 29]].concat())).await?;
        loop {
            let mut answers = BytesMut::new();
            for _ in 0..batch {
                let mut request = read_packet(&mut stream).await?;
                let number = request.get_i32();
                request.advance(4);
                let path = take_buffer(&mut request)?;
                let mut answer = BytesMut::new();
                answer.put_i32(number);
                answer.put_slice(&[0; 12]);
                put_buffer(&mut answer, &path);
                answers.put_slice(&with_length(&answer));
                let event = [&(-1_i32).to_be_bytes()[..], &[0; 12]].concat();
                answers.put_slice(&with_length(&event));
            }
            stream.write_all(&answers).await?;
        }
    }

    #[tokio::test]
    async fn calls_of_one_session_are_under_way_together() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(answer_in_batches(listener, 3));
        let session = Session::connect(&address).await.unwrap();
        // The server answers none before it has all three.
        let (a, b, c) = tokio::join!(session.get_data("/a"), session.get_data("/b"), session.get_data("/c"));
        assert_eq!([a.unwrap(), b.unwrap(), c.unwrap()], ["/a", "/b", "/c"]);
        server.abort();
        let error = session.get_data("/d").await.unwrap_err();
        assert!(error.to_string().contains("the connection is gone"), "{error:#}");
    }
}
