//! The naive twin of the machine: a copy of all keys for every revision, and brute force over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ruvector_state_machine::kv::*;

use crate::support::Dump;

pub(crate) type Keys = BTreeMap<Bytes, Arc<KeyValue>>;

/// Everything that ever was; nothing is shared, nothing is incremental.
pub(crate) struct Model {
    /// The keys as of each revision, and the keys changed in it, in order.
    pub(crate) revisions: BTreeMap<i64, (Keys, Vec<Bytes>)>,
    pub(crate) compacted: i64,
    pub(crate) time_ms: u64,
    /// The granted time to live and the deadline by id.
    pub(crate) leases: BTreeMap<i64, (i64, u64)>,
    pub(crate) sessions_opened: u64,
    pub(crate) limits: StoreLimits,
}

impl Default for Model {
    fn default() -> Self {
        let revisions = BTreeMap::from([(1, (Keys::new(), vec![]))]);
        Self {
            revisions,
            compacted: 0,
            time_ms: 0,
            leases: BTreeMap::new(),
            sessions_opened: 0,
            limits: StoreLimits::default(),
        }
    }
}

impl Model {
    pub(crate) fn apply(&mut self, command: &Command) -> Response {
        let result = match command {
            Command::Put(request) => self.put(request).map(Outcome::Put),
            Command::Delete(request) => Ok(Outcome::Delete(self.delete(request))),
            Command::Txn(request) => self.txn(request).map(Outcome::Txn),
            Command::Compact { revision } => self.compact(*revision),
            Command::LeaseGrant { id, ttl_seconds } => self.grant(*id, *ttl_seconds),
            Command::LeaseRevoke { id } => self.revoke(*id),
            Command::LeaseRenew { ids } => {
                Ok(Outcome::LeaseRenew(ids.iter().map(|id| self.renew(*id)).collect()))
            }
            // The twin keeps everything; what is forgotten when has tests of its own.
            Command::SetRetention(_) => Ok(Outcome::RetentionSet),
            Command::OpenSession { .. } => {
                self.sessions_opened += 1;
                Ok(Outcome::SessionOpened(SessionId(self.sessions_opened)))
            }
        };
        Response { revision: Revision(self.revision()), result }
    }

    pub(crate) fn advance_time(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
        let mut ended: Vec<_> = self.leases.iter().map(|(id, (_, deadline))| (*deadline, *id)).collect();
        ended.retain(|(deadline, _)| *deadline <= time_ms);
        ended.sort_unstable();
        let mut steps_left = self.limits.expiry_steps_max;
        for (_, id) in ended {
            let keys = self.keys_of_lease(LeaseId(id));
            if keys.len() < steps_left {
                steps_left -= keys.len() + 1;
                self.revoke(LeaseId(id)).unwrap();
                continue;
            }
            if keys.len() >= self.limits.expiry_steps_max && steps_left == self.limits.expiry_steps_max {
                let mut draft = Draft::of(self);
                keys[..steps_left].iter().for_each(|key| draft.remove(key));
                self.commit(draft);
            }
            break;
        }
    }

    fn lives(&self, id: LeaseId) -> bool {
        self.leases.get(&id.0).is_some_and(|(_, deadline)| *deadline > self.time_ms)
    }

    pub(crate) fn revision(&self) -> i64 {
        *self.revisions.last_key_value().unwrap().0
    }

    pub(crate) fn present(&self) -> &Keys {
        &self.revisions[&self.revision()].0
    }

    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, KvError> {
        let mut draft = Draft::of(self);
        self.check_lease(request)?;
        self.check_key(request)?;
        let response = draft.put(request);
        self.commit(draft);
        Ok(response)
    }

    fn delete(&mut self, request: &DeleteRequest) -> DeleteResponse {
        let mut draft = Draft::of(self);
        let response = draft.delete(request);
        self.commit(draft);
        response
    }

    pub(crate) fn commit(&mut self, draft: Draft) {
        if !draft.changed.is_empty() {
            self.revisions.insert(draft.revision, (draft.keys, draft.changed));
        }
    }

    pub(crate) fn check_lease(&self, request: &PutRequest) -> Result<(), KvError> {
        match request.lease.filter(|lease| lease.0 != 0 && !self.lives(*lease)) {
            Some(lease) => Err(KvError::LeaseNotFound(lease)),
            None => Ok(()),
        }
    }

    pub(crate) fn check_key(&self, request: &PutRequest) -> Result<(), KvError> {
        let needed = request.ignore_value || request.ignore_lease;
        if needed && !self.present().contains_key(&request.key) { Err(KvError::KeyNotFound) } else { Ok(()) }
    }

    fn compact(&mut self, revision: Revision) -> Result<Outcome, KvError> {
        if revision.0 <= self.compacted {
            return Err(KvError::Compacted { requested: revision, compacted: Revision(self.compacted) });
        }
        if revision.0 > self.revision() {
            return Err(KvError::FutureRevision { requested: revision, current: Revision(self.revision()) });
        }
        self.compacted = revision.0;
        Ok(Outcome::Compact)
    }

    fn grant(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<Outcome, KvError> {
        if id.0 == 0 {
            return Err(KvError::LeaseNotFound(id));
        }
        if !(1..=LEASE_TTL_SECONDS_MAX).contains(&ttl_seconds) {
            return Err(KvError::LeaseTtlOutOfBounds(ttl_seconds));
        }
        if self.leases.contains_key(&id.0) {
            return Err(KvError::LeaseExists(id));
        }
        self.leases.insert(id.0, (ttl_seconds, self.time_ms + ttl_seconds as u64 * 1000));
        Ok(Outcome::LeaseGrant { ttl_seconds })
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Outcome, KvError> {
        self.leases.remove(&id.0).ok_or(KvError::LeaseNotFound(id))?;
        let mut draft = Draft::of(self);
        for key in self.keys_of_lease(id) {
            draft.remove(&key);
        }
        self.commit(draft);
        Ok(Outcome::LeaseRevoke)
    }

    fn renew(&mut self, id: LeaseId) -> Option<i64> {
        if !self.lives(id) {
            return None;
        }
        let (ttl_seconds, deadline) = self.leases.get_mut(&id.0)?;
        *deadline = self.time_ms + *ttl_seconds as u64 * 1000;
        Some(*ttl_seconds)
    }

    fn keys_of_lease(&self, id: LeaseId) -> Vec<Bytes> {
        let keys = self.present().values().filter(|kv| kv.lease == Some(id));
        keys.map(|kv| kv.key.clone()).collect()
    }

    pub(crate) fn keys_at(&self, revision: Revision) -> Result<&Keys, KvError> {
        let (requested, current) = (revision, Revision(self.revision()));
        if revision.0 <= 0 {
            return Ok(self.present());
        }
        if requested > current {
            return Err(KvError::FutureRevision { requested, current });
        }
        if requested.0 < self.compacted {
            return Err(KvError::Compacted { requested, compacted: Revision(self.compacted) });
        }
        Ok(&self.revisions[&revision.0].0)
    }

    fn events(&self, from: i64) -> Result<Vec<Event>, KvError> {
        if from < self.compacted {
            return Err(KvError::Compacted {
                requested: Revision(from),
                compacted: Revision(self.compacted),
            });
        }
        let mut events = Vec::new();
        for (revision, (keys, changed)) in self.revisions.range(from.max(2)..) {
            let before = &self.revisions[&(revision - 1)].0;
            for key in changed {
                let prev_kv = before.get(key).filter(|_| *revision != self.compacted).cloned();
                events.push(match keys.get(key) {
                    Some(kv) => Event { kind: EventKind::Put, kv: kv.clone(), prev_kv },
                    None => Event { kind: EventKind::Delete, kv: tombstone(key, *revision), prev_kv },
                });
            }
        }
        Ok(events)
    }

    /// What the machine's [`dump`](crate::support::dump) should be.
    pub(crate) fn dump(&self) -> Dump {
        let all = |keys: &Keys| RangeResponse {
            kvs: keys.values().cloned().collect(),
            more: false,
            count: keys.len() as i64,
        };
        let lease = |(id, (granted_ttl_seconds, expires_at_ms)): (&i64, &(i64, u64))| LeaseInfo {
            id: LeaseId(*id),
            granted_ttl_seconds: *granted_ttl_seconds,
            expires_at_ms: *expires_at_ms,
            keys: self.keys_of_lease(LeaseId(*id)),
        };
        Dump {
            revision: Revision(self.revision()),
            compacted: Revision(self.compacted),
            time_ms: self.time_ms,
            key_count: self.present().len(),
            keys_at: (1..=self.revision() + 1).map(|at| self.keys_at(Revision(at)).map(all)).collect(),
            events_from: (1..=self.revision() + 1).map(|from| self.events(from)).collect(),
            leases: self.leases.iter().map(lease).collect(),
        }
    }
}

fn tombstone(key: &Bytes, revision: i64) -> Arc<KeyValue> {
    Arc::new(KeyValue {
        key: key.clone(),
        value: Bytes::new(),
        create_revision: Revision(0),
        mod_revision: Revision(revision),
        version: 0,
        lease: None,
    })
}

/// The next revision in the making.
pub(crate) struct Draft {
    revision: i64,
    pub(crate) keys: Keys,
    changed: Vec<Bytes>,
}

impl Draft {
    pub(crate) fn of(model: &Model) -> Self {
        Self { revision: model.revision() + 1, keys: model.present().clone(), changed: vec![] }
    }

    pub(crate) fn put(&mut self, request: &PutRequest) -> PutResponse {
        let previous = self.keys.get(&request.key).cloned();
        let mut kv = KeyValue {
            key: request.key.clone(),
            value: request.value.clone(),
            create_revision: Revision(self.revision),
            mod_revision: Revision(self.revision),
            version: 1,
            lease: request.lease.filter(|lease| lease.0 != 0),
        };
        if let Some(previous) = &previous {
            kv.create_revision = previous.create_revision;
            kv.version += previous.version;
            if request.ignore_value {
                kv.value = previous.value.clone();
            }
            if request.ignore_lease {
                kv.lease = previous.lease;
            }
        }
        self.keys.insert(request.key.clone(), Arc::new(kv));
        self.changed.push(request.key.clone());
        PutResponse { prev_kv: previous.filter(|_| request.prev_kv) }
    }

    pub(crate) fn delete(&mut self, request: &DeleteRequest) -> DeleteResponse {
        let doomed: Vec<_> =
            self.keys.values().filter(|kv| contains(&request.range, &kv.key)).cloned().collect();
        for kv in &doomed {
            self.remove(&kv.key);
        }
        DeleteResponse {
            deleted: doomed.len() as i64,
            prev_kvs: if request.prev_kv { doomed } else { vec![] },
        }
    }

    fn remove(&mut self, key: &Bytes) {
        self.keys.remove(key);
        self.changed.push(key.clone());
    }
}

/// Whether a key is in a range, by etcd's conventions for `range_end`.
pub(crate) fn contains(range: &KeyRange, key: &Bytes) -> bool {
    match &range.range_end[..] {
        b"" => *key == range.key,
        b"\0" => *key >= range.key,
        end => *key >= range.key && &key[..] < end,
    }
}
