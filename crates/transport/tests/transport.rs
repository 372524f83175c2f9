//! Transports that talk to each other, and to what is not a transport, over real sockets.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ruvector_protocol::{GroupId, NodeId, SnapshotMeta, Term};
use ruvector_transport::{
    PeerMessage, ReplicaEnvelope, ReplicaMessage, SnapshotChunk, Transport, TransportConfig, TransportEvent,
};

/// Far more than anything here takes; only a broken transport reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
const QUEUE_BYTES_MAX: usize = 64 << 20;
const CLUSTER: u64 = 0xc1;
/// As documented.
const PEER_PROTOCOL_VERSION: u32 = 3;

struct Node {
    id: NodeId,
    address: String,
    transport: Transport,
    /// What the transport told and nothing has asked for yet, oldest first.
    told: Vec<TransportEvent>,
}

/// Bound listeners for nodes 1 to `count`, so that all addresses are known before the first node starts. Not at
/// 127.0.0.1: a node that dials one that was dropped could be given its port to dial from.
fn listeners(count: u64) -> BTreeMap<NodeId, TcpListener> {
    (1..=count).map(|id| (NodeId(id), TcpListener::bind("127.0.0.2:0").unwrap())).collect()
}

fn addresses(listeners: &BTreeMap<NodeId, TcpListener>) -> BTreeMap<NodeId, String> {
    listeners.iter().map(|(id, listener)| (*id, listener.local_addr().unwrap().to_string())).collect()
}

fn start(
    cluster_id: u64,
    id: NodeId,
    listener: TcpListener,
    addresses: &BTreeMap<NodeId, String>,
    queue_bytes_max: usize,
) -> Node {
    let mut peers = addresses.clone();
    let address = peers.remove(&id).unwrap();
    let client_address = format!("client-of-{id}");
    let config = TransportConfig { cluster_id, node: id, client_address, listener, peers, queue_bytes_max };
    Node { id, address, transport: Transport::start(config).unwrap(), told: Vec::new() }
}

fn cluster(count: u64) -> Vec<Node> {
    let listeners = listeners(count);
    let addresses = addresses(&listeners);
    listeners
        .into_iter()
        .map(|(id, listener)| start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX))
        .collect()
}

fn message(from: NodeId, to: NodeId, number: u64, data: Bytes) -> PeerMessage {
    message_of(GroupId::METADATA, from, to, number, data)
}

fn message_of(group: GroupId, from: NodeId, to: NodeId, number: u64, data: Bytes) -> PeerMessage {
    let (term, meta, total_bytes) = (Term(1), SnapshotMeta::default(), data.len() as u64);
    let chunk = SnapshotChunk { term, meta, total_bytes, offset: number, data };
    let message = ReplicaMessage::SnapshotChunk(chunk);
    PeerMessage::Replica(ReplicaEnvelope { group, from, to, message })
}

fn number_of(message: &PeerMessage) -> u64 {
    let PeerMessage::Replica(ReplicaEnvelope { message: ReplicaMessage::SnapshotChunk(chunk), .. }) = message
    else {
        panic!("unexpected {message:?}")
    };
    chunk.offset
}

impl Node {
    fn send(&self, to: NodeId, number: u64, data: Bytes) {
        self.transport.send(message(self.id, to, number, data));
    }

    /// Takes events until one fits.
    fn await_event<T>(&mut self, what: &str, mut fits: impl FnMut(TransportEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while !self.told.is_empty() {
                if let Some(found) = fits(self.told.remove(0)) {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "no {what}");
            self.listen(Duration::from_millis(100));
        }
    }

    /// Takes what there is, or comes within `longest`.
    fn listen(&mut self, longest: Duration) {
        self.transport.wait(Some(longest), || true);
        self.transport.receive(&mut self.told);
    }

    fn next_event(&mut self) -> TransportEvent {
        self.await_event("event", Some)
    }

    fn await_connected(&mut self, to: NodeId) -> String {
        self.await_event("connection", |event| match event {
            TransportEvent::PeerConnected { peer, client_address } if peer == to => Some(client_address),
            TransportEvent::PeerConnected { .. }
            | TransportEvent::Received(_)
            | TransportEvent::PeerLost(_) => None,
        })
    }

    fn await_message(&mut self) -> PeerMessage {
        self.await_event("message", |event| match event {
            TransportEvent::Received(message) => Some(message),
            TransportEvent::PeerConnected { .. } | TransportEvent::PeerLost(_) => None,
        })
    }

    fn await_lost(&mut self, peer: NodeId) {
        self.await_event("loss", |event| (event == TransportEvent::PeerLost(peer)).then_some(()));
    }

    fn is_connected(&self, to: NodeId) -> bool {
        self.transport.counters()[&to].connected
    }
}

fn await_condition(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs something that would go on for ever if what it tests were broken.
fn ends<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (ended, has_ended) = channel();
    std::thread::spawn(move || ended.send(run()));
    has_ended.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what} never ends: {error}"))
}

#[test]
fn three_nodes_hear_each_other_in_order() {
    let mut nodes = cluster(3);
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.id != node.id) {
            await_condition("connection", || node.is_connected(other.id));
        }
    }
    for number in 0..1000 {
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.id != node.id) {
                node.send(other.id, number, Bytes::from(vec![7; 100]));
            }
            node.transport.flush();
        }
    }
    for node in &mut nodes {
        let mut expected: BTreeMap<NodeId, u64> = BTreeMap::new();
        for _ in 0..2000 {
            let message = node.await_message();
            let next = expected.entry(message.from()).or_default();
            assert_eq!(number_of(&message), *next, "from {}", message.from());
            *next += 1;
        }
    }
    let counters = nodes[0].transport.counters();
    assert_eq!(counters[&NodeId(2)].dropped_messages, 0);
    assert!(counters[&NodeId(2)].sent_bytes > 100_000, "{counters:?}");
    assert!(counters[&NodeId(2)].received_bytes > 100_000, "{counters:?}");
}

#[test]
fn peers_tell_each_other_where_their_clients_go() {
    let mut nodes = cluster(2);
    assert_eq!(nodes[0].await_connected(NodeId(2)), "client-of-2");
    assert_eq!(nodes[1].await_connected(NodeId(1)), "client-of-1");
}

#[test]
fn more_than_the_sockets_hold_arrives_whole_and_in_order() {
    let mut nodes = cluster(2);
    nodes[0].await_connected(NodeId(2));
    let data: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 253) as u8).collect();
    let data = Bytes::from(data);
    for number in 0..6 {
        nodes[0].send(NodeId(2), number, data.clone());
        nodes[0].transport.flush();
    }
    nodes[0].send(NodeId(2), 6, Bytes::new());
    nodes[0].transport.flush();
    for number in 0..6 {
        let received = nodes[1].await_message();
        assert!(received == message(NodeId(1), NodeId(2), number, data.clone()), "message {number} differs");
    }
    assert_eq!(number_of(&nodes[1].await_message()), 6);
}

#[test]
fn a_peer_that_stops_is_reported_once_and_found_again_when_it_is_back() {
    let listeners = listeners(2);
    let addresses = addresses(&listeners);
    let mut nodes: Vec<Node> = listeners
        .into_iter()
        .map(|(id, listener)| start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX))
        .collect();
    let (mut second, mut first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    first.await_connected(NodeId(2));
    second.await_connected(NodeId(1));
    second.send(NodeId(1), 0, Bytes::new());
    second.transport.flush();
    first.await_message();

    let address = second.address.clone();
    drop(second);
    first.await_lost(NodeId(2));
    await_condition("disconnection", || !first.is_connected(NodeId(2)));
    first.send(NodeId(2), 1, Bytes::new());
    assert_eq!(first.transport.counters()[&NodeId(2)].dropped_messages, 1);

    let mut second =
        start(CLUSTER, NodeId(2), TcpListener::bind(address).unwrap(), &addresses, QUEUE_BYTES_MAX);
    let mut losses = 0;
    first.await_event("second connection", |event| match event {
        TransportEvent::PeerLost(_) => {
            losses += 1;
            None
        }
        TransportEvent::PeerConnected { .. } => Some(()),
        TransportEvent::Received(_) => None,
    });
    assert_eq!(losses, 0, "one death was reported more than once");
    first.send(NodeId(2), 2, Bytes::new());
    first.transport.flush();
    assert_eq!(number_of(&second.await_message()), 2);
}

#[test]
fn a_peer_of_another_cluster_or_with_another_id_is_refused_by_both_sides() {
    let listeners = listeners(3);
    let addresses = addresses(&listeners);
    let mut listeners = listeners.into_values();
    let mut first = start(CLUSTER, NodeId(1), listeners.next().unwrap(), &addresses, QUEUE_BYTES_MAX);
    let stranger = start(0xbad, NodeId(2), listeners.next().unwrap(), &addresses, QUEUE_BYTES_MAX);
    // Node 3's address is answered by one that calls itself node 4.
    let mut misplaced = addresses.clone();
    misplaced.insert(NodeId(4), misplaced[&NodeId(3)].clone());
    misplaced.remove(&NodeId(3));
    let wrong = start(CLUSTER, NodeId(4), listeners.next().unwrap(), &misplaced, QUEUE_BYTES_MAX);
    for _ in 0..100 {
        for (node, peer) in [(&first, 2), (&first, 3), (&stranger, 1), (&wrong, 1)] {
            assert!(!node.is_connected(NodeId(peer)), "{} connected to {peer}", node.id);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    first.listen(Duration::ZERO);
    assert_eq!(first.told, [], "a refused peer was reported");
    // It was refused over real connections, not for want of one.
    await_condition("refusal of node 4 by node 1", || {
        let mut probe = TcpStream::connect(&first.address).unwrap();
        probe.write_all(&hello(CLUSTER, 4, 1)).unwrap();
        let mut answer = Vec::new();
        probe.read_to_end(&mut answer).unwrap();
        // reply magic, version, length, checksum, then variant 1 (refused), variant 3 (unknown sender)
        answer.starts_with(b"ruv-answ") && answer.ends_with(&[1, 3])
    });
}

/// A hello, byte for byte as documented.
fn hello(cluster_id: u64, from: u64, to: u64) -> Vec<u8> {
    let body = postcard::to_stdvec(&(cluster_id, from, to, "")).unwrap();
    let mut bytes = b"ruv-dial".to_vec();
    bytes.extend_from_slice(&PEER_PROTOCOL_VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// A connection that shook hands with `node` as if it were `from`.
fn shake_hands(node: &Node, from: u64) -> TcpStream {
    let mut connection = TcpStream::connect(&node.address).unwrap();
    connection.write_all(&hello(CLUSTER, from, node.id.0)).unwrap();
    let mut reply = [0; 20];
    connection.read_exact(&mut reply).unwrap();
    assert!(reply.starts_with(b"ruv-answ"));
    let body_bytes = u32::from_le_bytes(reply[12..16].try_into().unwrap()) as usize;
    let mut body = vec![0; body_bytes];
    connection.read_exact(&mut body).unwrap();
    assert_eq!(body[0], 0, "refused: {body:?}");
    connection
}

fn frame(message: &PeerMessage) -> Vec<u8> {
    shared_frame(std::slice::from_ref(message))
}

/// A frame of several messages, byte for byte as documented.
fn shared_frame(messages: &[PeerMessage]) -> Vec<u8> {
    let payload: Vec<u8> =
        messages.iter().flat_map(|message| postcard::to_stdvec(message).unwrap()).collect();
    let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// Whether the other side ends the connection. It may do so with a reset, as unread bytes are lying there.
fn is_closed(connection: &mut TcpStream) -> bool {
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = [0; 64];
    loop {
        match connection.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn garbage_and_other_protocols_are_closed_and_harm_nobody() {
    let mut nodes = cluster(2);
    nodes[1].await_connected(NodeId(1));
    let mut version = hello(CLUSTER, 2, 1);
    version[8] = 99;
    let mut long = hello(CLUSTER, 2, 1);
    long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut flipped = hello(CLUSTER, 2, 1);
    *flipped.last_mut().unwrap() ^= 1;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 100_000],
        &version,
        &long,
        &flipped,
    ];
    for bytes in garbage {
        let mut connection = TcpStream::connect(&nodes[0].address).unwrap();
        // It may be closed before all of it is written.
        let _ = connection.write_all(bytes);
        assert!(is_closed(&mut connection), "still open after {:?}", &bytes[..8]);
    }
    nodes[1].send(NodeId(1), 1, Bytes::new());
    nodes[1].transport.flush();
    assert_eq!(number_of(&nodes[0].await_message()), 1);
}

#[test]
fn a_damaged_oversized_or_misaddressed_frame_ends_the_connection() {
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    // A peer that does not answer, so that only this test's connections speak for it.
    addresses.insert(NodeId(2), "127.0.0.1:1".to_owned());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let mut node = start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX);
    let good = frame(&message(NodeId(2), NodeId(1), 5, Bytes::new()));
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let bad: [Vec<u8>; 5] = [
        damaged,
        [0xff; 8].to_vec(),
        [3, 0, 0, 0].into_iter().chain(crc32c::crc32c(&[0xff; 3]).to_le_bytes()).chain([0xff; 3]).collect(),
        frame(&message(NodeId(3), NodeId(1), 5, Bytes::new())),
        frame(&message(NodeId(2), NodeId(3), 5, Bytes::new())),
    ];
    for bytes in bad {
        let mut connection = shake_hands(&node, 2);
        connection.write_all(&good).unwrap();
        assert_eq!(number_of(&node.await_message()), 5);
        connection.write_all(&bytes).unwrap();
        assert_eq!(node.next_event(), TransportEvent::PeerLost(NodeId(2)), "after {bytes:?}");
        assert!(is_closed(&mut connection), "still open after {bytes:?}");
    }
}

#[test]
fn a_newer_connection_replaces_the_older_without_a_loss() {
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    addresses.insert(NodeId(2), "127.0.0.1:1".to_owned());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let mut node = start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX);
    let mut older = shake_hands(&node, 2);
    node.listen(PATIENCE);
    let mut newer = shake_hands(&node, 2);
    node.listen(PATIENCE);
    assert!(is_closed(&mut older));
    newer.write_all(&frame(&message(NodeId(2), NodeId(1), 9, Bytes::new()))).unwrap();
    let first = node.next_event();
    assert!(matches!(first, TransportEvent::Received(_)), "{first:?}");
    drop(newer);
    node.await_lost(NodeId(2));
}

#[test]
fn strangers_are_bounded_and_leave_room_again() {
    let mut nodes = cluster(2);
    nodes[0].await_connected(NodeId(2));
    nodes[1].await_connected(NodeId(1));
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&nodes[0].address).unwrap()).collect();
    let mut one_more = TcpStream::connect(&nodes[0].address).unwrap();
    assert!(is_closed(&mut one_more));
    // Not because its time for the handshake was up: the older ones are still waited for.
    silent[0].set_nonblocking(true).unwrap();
    let oldest = (&silent[0]).read(&mut [0; 1]);
    assert!(matches!(&oldest, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{oldest:?}");
    drop(silent);
    await_condition("room for another", || {
        let mut probe = TcpStream::connect(&nodes[0].address).unwrap();
        let sent = probe.write_all(&hello(0xbad, 2, 1));
        let mut answer = Vec::new();
        sent.and_then(|()| probe.read_to_end(&mut answer)).is_ok() && answer.starts_with(b"ruv-answ")
    });
}

/// A node and its connection to a peer, which has shaken hands and reads what the test reads.
fn node_with_peer(queue_bytes_max: usize) -> (Node, TcpStream) {
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    addresses.insert(NodeId(2), peer.local_addr().unwrap().to_string());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let mut node = start(CLUSTER, id, listener, &addresses, queue_bytes_max);
    let (mut connection, _) = peer.accept().unwrap();
    let mut hello_prefix = [0; 20];
    connection.read_exact(&mut hello_prefix).unwrap();
    let body_bytes = u32::from_le_bytes(hello_prefix[12..16].try_into().unwrap()) as usize;
    connection.read_exact(&mut vec![0; body_bytes]).unwrap();
    let body = [0, 0];
    let mut welcome = b"ruv-answ".to_vec();
    welcome.extend_from_slice(&PEER_PROTOCOL_VERSION.to_le_bytes());
    welcome.extend_from_slice(&2u32.to_le_bytes());
    welcome.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    welcome.extend_from_slice(&body);
    connection.write_all(&welcome).unwrap();
    node.await_connected(NodeId(2));
    (node, connection)
}

#[test]
fn what_is_queued_between_two_flushes_is_one_frame_whatever_its_groups() {
    let (node, mut connection) = node_with_peer(QUEUE_BYTES_MAX);
    for flush in 0..3 {
        let of_group = |group| message_of(GroupId(group), NodeId(1), NodeId(2), flush, Bytes::from("x"));
        let sent: Vec<PeerMessage> = (1..=100).map(of_group).collect();
        sent.iter().cloned().for_each(|message| node.transport.send(message));
        node.transport.flush();
        let expected = shared_frame(&sent);
        let mut arrived = vec![0; expected.len()];
        connection.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, expected, "flush {flush}");
    }
}

#[test]
fn each_message_that_a_full_queue_has_no_room_for_is_counted_and_the_others_arrive() {
    let of_number = |number| message(NodeId(1), NodeId(2), number, Bytes::from(vec![1; 100]));
    let fitting: Vec<PeerMessage> = (0..40).map(of_number).collect();
    // And room for the beginning of another.
    let (node, mut connection) = node_with_peer(shared_frame(&fitting).len() + 10);
    for number in 0..65 {
        node.transport.send(of_number(number));
    }
    assert_eq!(node.transport.counters()[&NodeId(2)].dropped_messages, 25);
    node.transport.flush();
    node.transport.send(of_number(65));
    node.transport.flush();
    let expected = [shared_frame(&fitting), frame(&of_number(65))].concat();
    let mut arrived = vec![0; expected.len()];
    connection.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, expected);
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_them() {
    // Nobody reads.
    let (mut node, connection) = node_with_peer(1 << 20);
    let dropped = || node.transport.counters()[&NodeId(2)].dropped_messages;
    let mut number = 0;
    while dropped() == 0 {
        node.send(NodeId(2), number, Bytes::from(vec![1; 100_000]));
        node.transport.flush();
        number += 1;
        assert!(number < 10_000, "a gigabyte was taken for a peer that does not read");
    }
    drop(connection);
    node.await_lost(NodeId(2));
}

#[test]
fn dropping_a_transport_ends_its_threads_even_while_they_wait() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    // Accepted by the operating system, never answered: the dialler waits in its handshake.
    addresses.insert(NodeId(2), silent.local_addr().unwrap().to_string());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let node = start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX);
    let (_dialling, _) = silent.accept().unwrap();
    let _stranger = TcpStream::connect(&node.address).unwrap();
    // Waits for all its threads.
    ends("dropping", move || drop(node));
}

#[test]
fn every_ring_ends_a_wait_or_keeps_it_from_beginning() {
    let mut node = cluster(1).remove(0);
    let bell = node.transport.bell();
    let (give, take) = channel();
    let (given_back, got) = channel();
    let other = std::thread::spawn(move || {
        for number in 0..5_000 {
            give.send(number).unwrap();
            bell.ring();
            // The next one is due while the owner is on its way to sleep.
            assert_eq!(got.recv(), Ok(number));
        }
    });
    ends("waiting", move || {
        for expected in 0..5_000 {
            let mut next = None;
            while next.is_none() {
                node.transport.wait(None, || {
                    next = take.try_recv().ok();
                    // Room for a ring between having looked and falling asleep.
                    std::thread::yield_now();
                    next.is_none()
                });
            }
            assert_eq!(next, Some(expected));
            given_back.send(expected).unwrap();
        }
    });
    other.join().unwrap();
}

#[test]
fn what_came_before_a_wait_ends_it() {
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    addresses.insert(NodeId(2), "127.0.0.1:1".to_owned());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let mut node = start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX);
    let _connection = shake_hands(&node, 2);
    ends("waiting", move || node.transport.wait(None, || true));
}

#[test]
fn many_connections_of_one_peer_before_the_owner_looks_are_one_and_it_is_the_newest() {
    let listeners = listeners(1);
    let mut addresses = addresses(&listeners);
    addresses.insert(NodeId(2), "127.0.0.1:1".to_owned());
    let (id, listener) = listeners.into_iter().next().unwrap();
    let mut node = start(CLUSTER, id, listener, &addresses, QUEUE_BYTES_MAX);
    let mut connections: Vec<TcpStream> = (0..20).map(|_| shake_hands(&node, 2)).collect();
    let mut newest = connections.pop().unwrap();
    for older in &mut connections {
        assert!(is_closed(older), "an older connection is open though the owner never looked");
    }
    newest.write_all(&frame(&message(NodeId(2), NodeId(1), 9, Bytes::new()))).unwrap();
    assert_eq!(number_of(&node.await_message()), 9);
    drop(newest);
    node.await_lost(NodeId(2));
    assert_eq!(node.told, []);
}

/// Says one byte after the other, as slowly as a hostile peer might, until the other side ends the connection. Returns how many it
/// took.
fn drip(mut connection: TcpStream, pause: Duration, bytes: &[u8]) -> usize {
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(pause)).unwrap();
    for (said, byte) in bytes.iter().enumerate() {
        if connection.write_all(&[*byte]).is_err() {
            return said;
        }
        // What the other side says is of no interest, but its end is.
        match connection.read(&mut [0; 256]) {
            Ok(0) => return said,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return said,
        }
    }
    bytes.len()
}

/// The beginning of a handshake whose body is as long as can be.
fn endless_handshake(magic: [u8; 8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&PEER_PROTOCOL_VERSION.to_le_bytes());
    bytes.extend_from_slice(&1_024_u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.resize(20 + 300, b'x');
    bytes
}

/// How slowly the bytes of a handshake come, and how many may be said in its time of five seconds. With the first pause it ends
/// within the body, and not for what was said before; with the other before the body begins, unless a part had a time of its own.
const DRIPS: [(Duration, Range<usize>); 2] =
    [(Duration::from_millis(100), 9..320), (Duration::from_millis(350), 1..20)];

#[test]
fn a_stranger_that_drips_is_not_given_more_time_for_each_byte_or_part() {
    let nodes = cluster(2);
    for (pause, allowed) in DRIPS {
        let connection = TcpStream::connect(&nodes[0].address).unwrap();
        let bytes = endless_handshake(*b"ruv-dial");
        let said = ends("a dripping stranger's connection", move || drip(connection, pause, &bytes));
        assert!(allowed.contains(&said), "it could say {said} bytes, one in {pause:?}");
    }
}

#[test]
fn a_peer_that_drips_its_answer_is_not_given_more_time_for_each_byte_or_part() {
    for (pause, allowed) in DRIPS {
        let mut listeners = listeners(2);
        let addresses = addresses(&listeners);
        let dripping = listeners.remove(&NodeId(2)).unwrap();
        let listener = listeners.remove(&NodeId(1)).unwrap();
        let _node = start(CLUSTER, NodeId(1), listener, &addresses, QUEUE_BYTES_MAX);
        let (connection, _) = dripping.accept().unwrap();
        let bytes = endless_handshake(*b"ruv-answ");
        let said = ends("a dripping peer's connection", move || drip(connection, pause, &bytes));
        assert!(allowed.contains(&said), "it could say {said} bytes, one in {pause:?}");
    }
}
