//! What the threads of a transport have in common.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use ruvector_protocol::NodeId;

use crate::bell::Bell;
use crate::event::TransportEvent;
use crate::inbox::Arrival;

/// What all threads know of this node.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) cluster_id: u64,
    pub(crate) node: NodeId,
    pub(crate) client_address: String,
    mail: Mutex<Mail>,
    pub(crate) bell: Bell,
    stopping: AtomicBool,
}

/// What other threads have for the owner.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) events: Vec<TransportEvent>,
    /// At most one of each peer, the newest.
    pub(crate) arrivals: BTreeMap<NodeId, Arrival>,
}

impl Local {
    /// # Errors
    /// If the system gives no bell.
    pub(crate) fn new(cluster_id: u64, node: NodeId, client_address: String) -> io::Result<Self> {
        let (mail, bell, stopping) = (Mutex::default(), Bell::new()?, AtomicBool::new(false));
        Ok(Self { cluster_id, node, client_address, mail, bell, stopping })
    }

    /// Has all threads end that look.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Has the owner told of an event.
    pub(crate) fn tell(&self, event: TransportEvent) {
        self.mail().events.push(event);
        self.bell.ring();
    }

    /// Has the owner read from a connection, in place of older ones of the same peer.
    pub(crate) fn hand_over(&self, arrival: Arrival) {
        self.mail().arrivals.insert(arrival.peer.id, arrival);
        self.bell.ring();
    }

    pub(crate) fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().expect("nothing panics while holding this lock")
    }
}

impl Mail {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.arrivals.is_empty()
    }
}
