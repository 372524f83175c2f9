//! Commands as bytes, from friends and strangers.

use bytes::Bytes;
use proptest::prelude::*;
use ruvector_state_machine::kv::*;

use crate::strategies::any_command;
use crate::support::*;

#[test]
fn the_encoding_is_fixed() {
    let command = Command::Put(PutRequest { prev_kv: false, lease: Some(LeaseId(3)), ..put("key", "v") });
    assert_eq!(&command.encode()[..], b"\x01\x00\x03key\x01v\x01\x06\x00\x00\x00");
    let command = Command::LeaseRenew { ids: vec![LeaseId(-1), LeaseId(64)] };
    assert_eq!(&command.encode()[..], b"\x01\x06\x02\x01\x80\x01");
}

#[test]
fn what_is_not_understood_is_refused() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    let mut longer = Command::Compact { revision: Revision(1) }.encode().to_vec();
    longer.push(0);
    let strange: [&[u8]; 7] = [
        b"",
        b"\x00",
        b"\x02\x03\x02",
        b"\x01",
        b"\x01\x63",
        &longer,
        b"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7fa",
    ];
    for bytes in strange {
        let response = fixture.apply_bytes(Bytes::copy_from_slice(bytes));
        assert!(matches!(response.result, Err(KvError::UnknownCommand(_))), "{bytes:?} {response:?}");
        assert_eq!(response.revision, Revision(2));
    }
    assert_eq!(fixture.view().revision(), Revision(2));
}

#[test]
fn time_passes_even_by_a_command_that_is_not_understood() {
    let mut fixture = Fixture::default();
    fixture.grant(1, 1);
    fixture.time_ms = 1_000;
    fixture.apply_bytes(Bytes::from_static(b"?"));
    assert_eq!(fixture.view().leases(), []);
}

#[test]
fn a_put_shares_the_bytes_it_came_in_but_a_transaction_does_not() {
    let is_part = |part: &Bytes, whole: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
    let alone = put("key", "value");
    let bytes = Command::Put(alone.clone()).encode();
    let Ok(Command::Put(decoded)) = Command::decode(&bytes) else { panic!("a put") };
    assert_eq!(decoded, alone);
    assert!(is_part(&decoded.key, &bytes) && is_part(&decoded.value, &bytes));

    let bytes = Command::Txn(always(vec![TxnOp::Put(alone)])).encode();
    let Ok(Command::Txn(decoded)) = Command::decode(&bytes) else { panic!("a transaction") };
    let [TxnOp::Put(decoded)] = &decoded.success[..] else { panic!("one put") };
    assert!(!is_part(&decoded.key, &bytes) && !is_part(&decoded.value, &bytes));
}

fn nested(levels: usize) -> TxnRequest {
    (1..levels).fold(always(vec![TxnOp::Put(put("a", "1"))]), |inner, _| always(vec![TxnOp::Txn(inner)]))
}

#[test]
fn nesting_is_bounded() {
    let mut fixture = Fixture::default();
    fixture.txn(nested(TXN_DEPTH_MAX));
    let too_deep = Command::Txn(nested(TXN_DEPTH_MAX + 1));
    assert!(Command::decode(&too_deep.encode()).is_err());
    let error = fixture.refuse(&too_deep);
    assert!(matches!(error, KvError::UnknownCommand(_)), "{error}");
    let reads = (0..TXN_DEPTH_MAX).fold(always(vec![]), |inner, _| always(vec![TxnOp::Txn(inner)]));
    assert!(matches!(fixture.view().read_only_txn(&reads), Err(KvError::UnknownCommand(_))));
    fixture.txn(nested(TXN_DEPTH_MAX));
}

#[test]
fn a_log_entry_nested_without_end_does_not_exhaust_the_stack() {
    let mut bytes = vec![1, 2];
    // No comparisons, one operation, which is a transaction again.
    bytes.extend([0, 1, 3].repeat(1_000_000));
    let response = Fixture::default().apply_bytes(bytes.into());
    assert!(matches!(response.result, Err(KvError::UnknownCommand(_))));
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(command in any_command()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn damage_never_panics(
        command in any_command(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = command.encode().to_vec();
        for (index, mask) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= mask;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        Fixture::default().apply_bytes(bytes.into());
    }
}
