//! What finds the sessions that may end for others.

use imbl::{OrdMap, OrdSet};

use super::facts::{SessionClient, SessionFacts, SessionId};

/// What finds the sessions that may end. All of it follows from the sessions; a session that is used is found again by its earlier
/// use, and only then is its place put right, so that using one costs nothing here.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// By when they were used last, or earlier.
    pub(super) by_use: OrdSet<(u64, SessionId)>,
    /// When each of `by_use` is said there to have been used.
    pub(super) known_use_ms: OrdMap<SessionId, u64>,
    pub(super) by_client: OrdMap<SessionClient, OfClient>,
}

/// What finds those of one client.
#[derive(Clone, Debug, Default)]
pub(super) struct OfClient {
    pub(super) sessions: OrdSet<SessionId>,
    /// None of them was used last before this.
    pub(super) unused_since_ms: u64,
}

impl Room {
    pub(super) fn session_came(&mut self, id: SessionId, facts: &SessionFacts) {
        self.by_use.insert((facts.used_at_ms, id));
        self.known_use_ms.insert(id, facts.used_at_ms);
        let of_client = self.by_client.entry(facts.client).or_default();
        of_client.sessions.insert(id);
        of_client.unused_since_ms = of_client.unused_since_ms.min(facts.used_at_ms);
    }

    pub(super) fn session_went(&mut self, id: SessionId, facts: &SessionFacts) {
        if let Some(known_ms) = self.known_use_ms.remove(&id) {
            self.by_use.remove(&(known_ms, id));
        }
        let Some(of_client) = self.by_client.get_mut(&facts.client) else { return };
        of_client.sessions.remove(&id);
        if of_client.sessions.is_empty() {
            self.by_client.remove(&facts.client);
        }
    }
}
