//! Where requests for the driver are put.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use ruvector_state_machine::StateMachine;
use ruvector_transport::Bell;

use crate::request::Request;
use crate::ringer::Ringer;

/// A bounded queue whose driver is woken if it waits for peers meanwhile.
#[derive(Debug)]
pub(crate) struct Mailbox<M: StateMachine> {
    requests: Sender<Request<M>>,
    ringer: Arc<Ringer>,
}

impl<M: StateMachine> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), ringer: Arc::clone(&self.ringer) }
    }
}

impl<M: StateMachine> Mailbox<M> {
    /// A queue of `capacity`, and the driver's end of it.
    pub(crate) fn new(capacity: usize, bell: Bell) -> (Self, Receiver<Request<M>>) {
        let (requests, receiver) = bounded(capacity);
        (Self { requests, ringer: Arc::new(Ringer::new(bell)) }, receiver)
    }

    /// Puts a request there if there is room.
    ///
    /// # Errors
    /// The request, if there is none or the driver has ended.
    #[expect(clippy::result_large_err, reason = "the caller wants the request back, to refuse it")]
    pub(crate) fn try_send(&self, request: Request<M>) -> Result<(), TrySendError<Request<M>>> {
        self.requests.try_send(request)?;
        self.ringer.ring_soon();
        Ok(())
    }

    /// Puts a request there as soon as there is room; drops it if the driver has ended.
    pub(crate) fn send(&self, request: Request<M>) {
        if self.requests.send(request).is_ok() {
            self.ringer.ring_now();
        }
    }

    /// Who rings for this queue.
    pub(crate) fn ringer(&self) -> Arc<Ringer> {
        Arc::clone(&self.ringer)
    }
}
