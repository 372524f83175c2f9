//! What bounds the store and its work, beside what commands ask for.

/// How deep transactions may be nested, the outermost counted.
pub const TXN_DEPTH_MAX: usize = 32;

/// What bounds the store and the work of one entry.
///
/// All replicas must be told the same. The defaults are a server's; simulations and tests, in which not so much can
/// be done, take smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// How many steps one entry takes at most to end leases that are due, at least 1: one for a lease and one for each of its
    /// keys. What is left over is the work of the entries that follow.
    ///
    /// The default takes an entry a few milliseconds, less than the time between two heartbeats. It is more than
    /// programs attach to one lease on purpose (kube-apiserver at most 1,000 keys), since a lease with more keys than this ends in
    /// several revisions.
    pub expiry_steps_max: usize,
    /// How many sessions there are at most, at least 1.
    pub sessions_max: usize,
    /// How many sessions one client has at most.
    pub sessions_per_client_max: usize,
    /// A session that was not used for longer, in milliseconds, may end for another one although its client is not the one that
    /// has most.
    pub session_idle_ms: u64,
    /// About how many bytes of answers all sessions remember. More ends sessions.
    pub sessions_bytes_max: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            expiry_steps_max: 1_024,
            sessions_max: 10_000,
            sessions_per_client_max: 1_000,
            session_idle_ms: 60_000,
            sessions_bytes_max: 256 << 20,
        }
    }
}
