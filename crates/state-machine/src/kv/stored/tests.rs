//! What a stored version holds, and what it keeps in memory.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::command::{Command, PutRequest};
use super::super::machine::KvMachine;
use super::*;
use crate::machine::{Committed, StateMachine};

fn any_key_value() -> impl Strategy<Value = KeyValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<Option<i64>>());
    (bytes(), bytes(), numbers).prop_map(|(key, value, (create, modified, version, lease))| KeyValue {
        key,
        value,
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        version,
        lease: lease.map(LeaseId),
    })
}

fn borrowed(kv: &KeyValue) -> Version<'_> {
    Version {
        key: &kv.key,
        value: &kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

proptest! {
    #[test]
    fn gives_back_what_was_put_in(kv in any_key_value()) {
        let stored = StoredVersion::from(borrowed(&kv));
        prop_assert_eq!(&*stored.key_value(), &kv);
        prop_assert_eq!(stored.parts(), borrowed(&kv));
        prop_assert_eq!(stored.mod_revision(), kv.mod_revision);
        prop_assert_eq!(stored.parts().key, &kv.key[..]);
        prop_assert_eq!(&*stored.key_value_without_value(), &KeyValue { value: Bytes::new(), ..kv });
    }

    /// Snapshots of before there were stored versions can be read.
    #[test]
    fn is_encoded_in_snapshots_as_a_key_value_is(kv in any_key_value()) {
        let encoded = postcard::to_stdvec(&kv).unwrap();
        prop_assert_eq!(&postcard::to_stdvec(&borrowed(&kv)).unwrap(), &encoded);
        prop_assert_eq!(postcard::from_bytes::<Version<'_>>(&encoded).unwrap(), borrowed(&kv));
    }
}

/// A version as benchmarks and most programs write them costs 26 bytes beside its contents, reference counts
/// included.
#[test]
fn takes_little_more_than_its_contents() {
    let stored = StoredVersion::from(Version {
        key: &[b'k'; 18],
        value: &[b'v'; 256],
        create_revision: Revision(1_000_000),
        mod_revision: Revision(1_000_000),
        version: 1,
        lease: None,
    });
    let counters = stored.as_ref().len() - 18 - 256;
    assert!(counters <= 10, "{counters} bytes of counters");
}

#[test]
fn the_longest_counters_fit_the_first_allocation() {
    let (key, value) = ([b'k'; 300], [b'v'; 5]);
    let stored = StoredVersion::from(Version {
        key: &key,
        value: &value,
        create_revision: Revision(i64::MIN),
        mod_revision: Revision(i64::MIN),
        version: i64::MIN,
        lease: Some(LeaseId(i64::MIN)),
    });
    assert!(stored.as_ref().len() - key.len() - value.len() <= COUNTER_BYTES_MAX);
}

/// The bytes of a command as they arrive: a part of something much larger, which is seen to be let go.
fn arriving(command: &Command) -> (Bytes, std::sync::Weak<[u8]>) {
    struct Frame(Arc<[u8]>);
    impl AsRef<[u8]> for Frame {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let frame: Arc<[u8]> = command.encode().to_vec().into();
    let alive = Arc::downgrade(&frame);
    (Bytes::from_owner(Frame(frame)), alive)
}

#[test]
fn nothing_in_the_store_keeps_a_command_in_memory() {
    let mut machine = KvMachine::default();
    let put = |key: &'static [u8], lease: Option<LeaseId>| PutRequest {
        key: Bytes::from_static(key),
        value: Bytes::from_static(b"small"),
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    let long_key = b"a key that is longer than any that lies in the map itself, and so is shared";
    let puts = [put(b"short", None), put(long_key, None), put(b"leased", Some(LeaseId(7)))];
    let commands = std::iter::once(Command::LeaseGrant { id: LeaseId(7), ttl_seconds: 60 })
        .chain(puts.into_iter().map(Command::Put));
    for (index, command) in commands.enumerate() {
        let (bytes, alive) = arriving(&command);
        let response = machine.apply(&Committed { index: index as u64, time_ms: 0, command: bytes });
        assert!(response.result.is_ok(), "{response:?}");
        assert_eq!(alive.strong_count(), 0, "kept in memory by {command:?}");
    }
}
