//! What a peer that comes and goes in a tight loop makes a node say.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ruvector_protocol::NodeId;
use ruvector_transport::{Transport, TransportConfig};

const CLUSTER: u64 = 0xc1;
/// Connections of the peer to the node.
const ROUNDS: usize = 400;
/// Connections of the node to the peer: it pauses between them, though shortly while the peer shows that it lives.
const DIALS: usize = 20;
/// Each cause is said once, and there are fewer than this.
const LINES_MAX: usize = 12;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_peer_that_reconnects_in_a_loop_is_spoken_of_once_for_each_cause() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();

    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = TcpListener::bind("127.0.0.2:0").unwrap();
    let config = TransportConfig {
        cluster_id: CLUSTER,
        node: NodeId(1),
        client_address: String::new(),
        listener,
        peers: BTreeMap::from([(NodeId(2), peer.local_addr().unwrap().to_string())]),
        queue_bytes_max: 1 << 20,
    };
    let mut transport = Transport::start(config).unwrap();
    let mut events = Vec::new();
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    std::thread::spawn(move || {
        for connection in peer.incoming() {
            // The node dials, and is left at once.
            welcome(&connection.unwrap());
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut rounds = 0;
    while rounds < ROUNDS || dials.load(Ordering::Relaxed) < DIALS {
        drop(shake_hands(TcpStream::connect(address).unwrap()));
        transport.wait(Some(Duration::from_millis(1)), || true);
        transport.receive(&mut events);
        rounds += 1;
    }
    drop(transport);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().count();
    assert!(text.contains("connected to peer node 2"), "{text}");
    assert!(text.contains("connection to peer node 2") && text.contains("lost"), "{text}");
    assert!(text.contains("connection from peer node 2"), "{text}");
    assert!(lines <= LINES_MAX, "{lines} lines:\n{text}");
}

/// A hello of node 2, byte for byte as documented.
fn shake_hands(mut connection: TcpStream) -> TcpStream {
    let body = postcard::to_stdvec(&(CLUSTER, 2_u64, 1_u64, "")).unwrap();
    connection.write_all(&part(*b"ruv-dial", &body)).unwrap();
    let reply = read_part(&connection);
    assert_eq!(reply[0], 0, "refused: {reply:?}");
    connection
}

/// Answers a hello as node 2 would.
fn welcome(mut connection: &TcpStream) {
    read_part(connection);
    connection.write_all(&part(*b"ruv-answ", &[0, 0])).unwrap();
}

fn part(magic: [u8; 8], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&3_u32.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn read_part(mut connection: &TcpStream) -> Vec<u8> {
    let mut prefix = [0; 20];
    connection.read_exact(&mut prefix).unwrap();
    let mut body = vec![0; u32::from_le_bytes(prefix[12..16].try_into().unwrap()) as usize];
    connection.read_exact(&mut body).unwrap();
    body
}
