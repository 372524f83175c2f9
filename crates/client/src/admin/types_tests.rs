#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn entries_and_snapshots_are_told_with_all_their_fields() {
    let entry = pb::LogEntry {
        index: 1,
        term: 2,
        time_ms: 3,
        kind: "command".to_owned(),
        description: "put".to_owned(),
        command_bytes: 4,
        origin_id: Some(5),
    };
    let expected = LogEntry {
        index: 1,
        term: 2,
        time_ms: 3,
        kind: "command".to_owned(),
        description: "put".to_owned(),
        command_bytes: 4,
        origin_id: Some(5),
    };
    assert_eq!(LogEntry::from(entry), expected);
    for (wire, damage) in [("", None), ("bad", Some("bad".to_owned()))] {
        let snapshot = pb::Snapshot {
            name: "s".to_owned(),
            index: 1,
            term: 2,
            time_ms: 3,
            file_bytes: 4,
            automatic: true,
            damage: wire.to_owned(),
        };
        let name = "s".to_owned();
        let expected =
            Snapshot { name, index: 1, term: 2, time_ms: 3, file_bytes: 4, automatic: true, damage };
        assert_eq!(Snapshot::from(snapshot), expected);
    }
}

#[test]
fn a_read_is_told_with_all_its_fields_and_the_level_that_was_served() {
    for (wire, level, name) in [
        (pb::ReadLevel::Strong, ReadLevel::Strong, "strong"),
        (pb::ReadLevel::Lease, ReadLevel::Lease, "lease"),
        (pb::ReadLevel::Stale, ReadLevel::Stale(None), "stale"),
    ] {
        let response = pb::ReadResponse {
            kv: Some(ruvector_api::mvccpb::KeyValue { key: "k".into(), ..Default::default() }),
            level: wire.into(),
            staleness_us: Some(1),
            applied_index: 2,
            revision: 3,
            node_name: "node-1".to_owned(),
            ..pb::ReadResponse::default()
        };
        let expected = ReadAnswer {
            key_value: Some(KeyValue { key: "k".into(), ..KeyValue::default() }),
            level,
            staleness: Some(Duration::from_micros(1)),
            applied_index: 2,
            revision: 3,
            node_name: "node-1".to_owned(),
        };
        assert_eq!((ReadAnswer::try_from(response).unwrap(), level.to_string()), (expected, name.to_owned()));
    }
    let unsaid = pb::ReadResponse { level: pb::ReadLevel::Unspecified.into(), ..Default::default() };
    assert!(matches!(ReadAnswer::try_from(unsaid), Err(ClientError::Malformed { .. })));
}
