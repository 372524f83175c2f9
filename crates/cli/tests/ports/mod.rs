//! Ports for the clusters of tests.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// How far base ports are apart: room for ten nodes with ten ports each.
const STEP: u16 = 100;
const FIRST: u16 = 10_000;
/// All ports are below 31,000: the system gives those from 32,768 on (Linux) to any outgoing connection, between
/// a test's look and its use of them.
const BASES: u16 = 210;

/// A base port at which a cluster of this size finds all its ports free, and that no other test of this program is
/// given before all are used up. Each process begins at another.
pub(crate) fn free_base_port(node_count: u16) -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(BASES)).unwrap();
    std::iter::repeat_with(|| TRIED.fetch_add(1, Ordering::Relaxed))
        .take(usize::from(BASES))
        .map(|tried| FIRST + (own + tried % BASES) % BASES * STEP)
        .find(|base| {
            (0..node_count).all(|number| is_free(base + 10 * number) && is_free(base + 10 * number + 1))
        })
        .expect("a free base port")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
