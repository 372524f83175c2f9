//! Calls whose messages are bytes: for what no generated client says.

use std::time::Duration;

use axum::http::uri::PathAndQuery;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{PATIENCE, TestServer};

/// No message of any definition.
pub(crate) const GARBAGE: &[u8] = &[0xff; 3];

/// Opens a stream, sends the messages and ends this side of it.
pub(crate) async fn stream(
    server: &TestServer,
    path: &'static str,
    messages: Vec<Bytes>,
) -> Streaming<Bytes> {
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let requests = Request::new(tokio_stream::iter(messages));
    grpc.streaming(requests, PathAndQuery::from_static(path), Raw).await.unwrap().into_inner()
}

/// How a call ended: the code, the message and what was answered before, without its frame.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) answers: Vec<Bytes>,
}

/// One call of HTTP/2 with exactly these headers beside the usual ones; a client library would mind them itself. `None` if
/// it was not answered as a call.
pub(crate) async fn call(
    server: &TestServer,
    path: &str,
    headers: &[(&'static str, String)],
    messages: &[Bytes],
) -> Option<Ended> {
    call_taken_after(Duration::ZERO, server, path, headers, messages).await
}

/// The same, and of the answer's body no more is taken before that time than fits HTTP/2's first window.
pub(crate) async fn call_taken_after(
    time: Duration,
    server: &TestServer,
    path: &str,
    headers: &[(&'static str, String)],
    messages: &[Bytes],
) -> Option<Ended> {
    let called = async {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = axum::http::Request::post(format!("http://{}{path}", server.address()));
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut client = client.ready().await.unwrap();
        let (response, mut sending) = client.send_request(request.body(()).unwrap(), false).unwrap();
        for message in messages {
            let mut frame = vec![0];
            frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(message);
            sending.send_data(frame.into(), false).ok()?;
        }
        sending.send_data(Bytes::new(), true).ok()?;
        let response = response.await.ok()?;
        tokio::time::sleep(time).await;
        let ended = ended(response).await;
        connection.abort();
        ended
    };
    tokio::time::timeout(PATIENCE, called).await.expect("an answer in time")
}

async fn ended(response: axum::http::Response<h2::RecvStream>) -> Option<Ended> {
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.ok()?.unwrap_or(head.headers);
    let mut answers = Vec::new();
    while let Some(length) = bytes.get(1..5) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if bytes.len() < 5 + length {
            break;
        }
        bytes.advance(5);
        answers.push(bytes.split_to(length).freeze());
    }
    let status = Status::from_header_map(&trailers)?;
    Some(Ended { code: status.code(), message: status.message().to_owned(), answers })
}

/// What a stream of HTTP/2 gets first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    Headers,
    /// With the code of the error.
    Reset(u32),
}

/// A call with this `:authority`, or without one, that no library would send: byte by byte.
pub(crate) async fn call_by_authority(
    server: &TestServer,
    path: &str,
    authority: Option<&str>,
    message: &Bytes,
) -> First {
    let mut fields = vec![(":method", "POST"), (":scheme", "http"), (":path", path)];
    fields.extend(authority.map(|authority| (":authority", authority)));
    fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
    let mut headers = Vec::new();
    for text in fields.into_iter().flat_map(|(name, value)| [(Some(0), name), (None, value)]) {
        // A literal field with a literal name, neither compressed nor remembered (RFC 7541, 6.2.2).
        headers.extend(text.0);
        headers.push(u8::try_from(text.1.len()).ok().filter(|length| *length < 0x7f).unwrap());
        headers.extend_from_slice(text.1.as_bytes());
    }
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    data.extend_from_slice(message);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for (kind, flags, stream, payload) in [(4, 0, 0, &[][..]), (1, 4, 1, &headers), (0, 1, 1, &data)] {
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        bytes.extend([kind, flags, 0, 0, 0, stream]);
        bytes.extend_from_slice(payload);
    }
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection.write_all(&bytes).await.unwrap();
    tokio::time::timeout(PATIENCE, first_on_stream(&mut connection)).await.expect("an answer in time")
}

async fn first_on_stream(connection: &mut TcpStream) -> First {
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        connection.read_exact(&mut payload).await.unwrap();
        match (head[3], head[8]) {
            (1, 1) => return First::Headers,
            (3, 1) => return First::Reset(u32::from_be_bytes(payload.try_into().unwrap())),
            _ => {}
        }
    }
}

pub(crate) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
