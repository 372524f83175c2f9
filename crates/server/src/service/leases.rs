//! Leases: granting, revoking, renewing, looking at them.

use bytes::Bytes;
use ruvector_node::state_machine::kv::{Command, LEASE_TTL_SECONDS_MAX, LeaseId, Outcome, Revision};

use super::caller::Caller;
use super::error::{InvalidRequest, ServiceError};
use super::renewals::Renewed;

/// A shorter time to live is made this long: a lease must outlive an election.
const TTL_SECONDS_MIN: i64 = 1;

/// A lease that was granted.
pub(crate) struct Granted {
    pub(crate) id: LeaseId,
    pub(crate) ttl_seconds: i64,
    /// The store's revision then.
    pub(crate) revision: Revision,
}

/// A lease that is there.
pub(crate) struct Living {
    /// The whole seconds that it has left to live.
    pub(crate) left_seconds: i64,
    pub(crate) granted_ttl_seconds: i64,
    /// The keys that end with it.
    pub(crate) keys: Vec<Bytes>,
}

impl Caller {
    /// Grants a lease, under an id of the node's own if none is given.
    pub(crate) async fn grant(&self, id: Option<LeaseId>, ttl_seconds: i64) -> Result<Granted, ServiceError> {
        let ttl_seconds = granted_ttl_seconds(ttl_seconds)?;
        let id = match id {
            Some(id) => id,
            None => self.unused_lease_id().await?,
        };
        match self.propose(Command::LeaseGrant { id, ttl_seconds }).await? {
            (revision, Outcome::LeaseGrant { ttl_seconds }) => Ok(Granted { id, ttl_seconds, revision }),
            (_, other) => Err(ServiceError::mismatched("grant of a lease", &other)),
        }
    }

    /// A random positive id. Should two nodes draw the same at once, the second grant is refused.
    async fn unused_lease_id(&self) -> Result<LeaseId, ServiceError> {
        let version = self.version(true).await?;
        loop {
            let id = LeaseId(rand::random_range(1..=i64::MAX));
            if version.view.lease(id).is_none() {
                return Ok(id);
            }
        }
    }

    /// Ends a lease and its keys.
    pub(crate) async fn revoke(&self, id: LeaseId) -> Result<Revision, ServiceError> {
        match self.propose(Command::LeaseRevoke { id }).await? {
            (revision, Outcome::LeaseRevoke) => Ok(revision),
            (_, other) => Err(ServiceError::mismatched("revocation of a lease", &other)),
        }
    }

    /// Renews a lease, together with others. One that does not exist is no error.
    pub(crate) async fn renew(&self, id: LeaseId) -> Result<Renewed, ServiceError> {
        self.principal.may_renew(id)?;
        self.renewals.renew(id).await
    }

    /// What is left of a lease, if it is there, and the store's revision.
    pub(crate) async fn lease(&self, id: LeaseId) -> Result<(Revision, Option<Living>), ServiceError> {
        self.principal.may_see_leases()?;
        let version = self.version(false).await?;
        let revision = version.view.revision();
        let Some(lease) = version.view.lease(id) else { return Ok((revision, None)) };
        let cluster_time = self.handle.cluster_time().await?;
        let now_ms = version.view.time_ms().max(cluster_time.0);
        let left_ms = lease.expires_at_ms.saturating_sub(now_ms);
        let living = Living {
            left_seconds: i64::try_from(left_ms / 1_000).unwrap_or(i64::MAX),
            granted_ttl_seconds: lease.granted_ttl_seconds,
            keys: lease.keys,
        };
        Ok((revision, Some(living)))
    }

    /// The leases that this node knows, without a quorum too, and the store's revision.
    pub(crate) async fn leases(&self) -> Result<(Revision, Vec<LeaseId>), ServiceError> {
        self.principal.may_see_leases()?;
        let version = self.version(true).await?;
        Ok((version.view.revision(), version.view.leases()))
    }
}

/// How long a lease lives that is to live so long.
pub(crate) fn granted_ttl_seconds(asked: i64) -> Result<i64, InvalidRequest> {
    if asked > LEASE_TTL_SECONDS_MAX {
        return Err(InvalidRequest::LeaseTtlTooLarge);
    }
    Ok(asked.max(TTL_SECONDS_MIN))
}
