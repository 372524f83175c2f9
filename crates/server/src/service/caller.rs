//! Who asks of which group, and on whose account.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ruvector_node::daemon::{Permit, Share};

use super::context::Context;
use super::error::ServiceError;
use super::principal::Principal;

/// How soon to look again whether there is room.
pub(crate) const ROOM_RETRY: Duration = Duration::from_millis(100);

/// Who asks of which group, and on whose account: what every operation of the service is asked through.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
    /// Where it is.
    pub(crate) address: IpAddr,
    /// What is held for it.
    pub(crate) share: Arc<Share>,
}

impl Caller {
    /// The same caller, asking another group.
    pub(crate) fn of_group(&self, context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), ..self.clone() }
    }

    /// Holds bytes on this caller's account, or refuses what would take them.
    pub(crate) fn take(&self, bytes: usize) -> Result<Permit, ServiceError> {
        Ok(self.share.take(bytes)?)
    }

    /// Waits for room for so many bytes, which are told to the caller. One that does not take what it is told is
    /// not told more before it does. A single thing that is larger than what a caller gets must come through, too.
    pub(crate) async fn room(&self, bytes: usize) -> Permit {
        let bytes = bytes.min(self.context.budget.bytes_max() / 8);
        loop {
            match self.share.take(bytes) {
                Ok(permit) => return permit,
                Err(_) => tokio::time::sleep(ROOM_RETRY).await,
            }
        }
    }
}

impl Deref for Caller {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
