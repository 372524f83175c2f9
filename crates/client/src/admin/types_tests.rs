#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_status_is_told_with_all_its_fields() {
    let status = pb::StatusResponse {
        node_id: 1,
        node_name: "node-1".to_owned(),
        version: "v".to_owned(),
        cluster_id: 2,
        cluster_name: "c".to_owned(),
        client_address: "client".to_owned(),
        peer_address: "peer".to_owned(),
        role: pb::Role::Leader.into(),
        leader_id: Some(3),
        term: 4,
        commit_index: 5,
        applied_index: 6,
        last_index: 7,
        last_term: 8,
        first_index: 9,
        voter_ids: vec![10, 11],
        cluster_time_ms: 12,
        state_hash: "hash".to_owned(),
        staleness_us: Some(13),
        log_bytes: 14,
        log_syncs: 15,
        pending_proposals: 16,
        leader_changes: 17,
        snapshot_index: Some(18),
        peers: vec![pb::PeerStatus {
            node_id: 19,
            name: "node-2".to_owned(),
            connected: true,
            matched_index: Some(20),
            state: Some("probe".to_owned()),
            heard_us_ago: Some(21),
            dropped_messages: 22,
            commit_index: Some(30),
            contradicts_index: Some(31),
            unmatched_us: Some(32),
            ..pb::PeerStatus::default()
        }],
        members: vec![
            pb::Member {
                node_id: 23,
                name: "node-3".to_owned(),
                peer_address: "p".to_owned(),
                client_address: Some("c".to_owned()),
            },
            pb::Member { client_address: Some(String::new()), ..pb::Member::default() },
        ],
        revision: 24,
        compacted_revision: 25,
        key_count: 26,
        store_bytes: 27,
        lease_count: 28,
        unheard_ids: vec![29],
        history_count: 33,
        retention_age_ms: Some(34),
        retention_bytes: Some(35),
        trouble: Some("trouble".to_owned()),
        differs_at_index: Some(36),
        group_name: "g".to_owned(),
        groups: vec![pb::GroupSummary {
            name: "shard".to_owned(),
            id: 37,
            trouble: Some("differs".to_owned()),
            role: pb::Role::Candidate.into(),
            leader_id: Some(38),
            term: 39,
            commit_index: 40,
            applied_index: 41,
            voter_ids: vec![42],
            revision: 43,
            key_count: 44,
            store_bytes: 45,
        }],
    };
    let expected = NodeStatus {
        node_id: 1,
        node_name: "node-1".to_owned(),
        version: "v".to_owned(),
        cluster_id: 2,
        cluster_name: "c".to_owned(),
        client_address: "client".to_owned(),
        peer_address: "peer".to_owned(),
        role: Role::Leader,
        leader_id: Some(3),
        term: 4,
        commit_index: 5,
        applied_index: 6,
        last_index: 7,
        last_term: 8,
        first_index: 9,
        voter_ids: vec![10, 11],
        cluster_time_ms: 12,
        state_hash: "hash".to_owned(),
        staleness_us: Some(13),
        log_bytes: 14,
        log_syncs: 15,
        pending_proposals: 16,
        leader_changes: 17,
        snapshot_index: Some(18),
        peers: vec![PeerStatus {
            node_id: 19,
            name: "node-2".to_owned(),
            connected: true,
            matched_index: Some(20),
            state: Some("probe".to_owned()),
            heard_us_ago: Some(21),
            dropped_messages: 22,
            commit_index: Some(30),
            contradicts_index: Some(31),
            unmatched_us: Some(32),
        }],
        members: vec![
            NodeAddress {
                node_id: 23,
                name: "node-3".to_owned(),
                peer_address: "p".to_owned(),
                client_address: Some("c".to_owned()),
            },
            NodeAddress {
                node_id: 0,
                name: String::new(),
                peer_address: String::new(),
                client_address: None,
            },
        ],
        revision: 24,
        compacted_revision: 25,
        key_count: 26,
        store_bytes: 27,
        lease_count: 28,
        unheard_ids: vec![29],
        history_count: 33,
        retention_age_ms: Some(34),
        retention_bytes: Some(35),
        trouble: Some("trouble".to_owned()),
        differs_at_index: Some(36),
        group_name: "g".to_owned(),
        groups: vec![GroupSummary {
            name: "shard".to_owned(),
            id: 37,
            trouble: Some("differs".to_owned()),
            role: Role::Candidate,
            leader_id: Some(38),
            term: 39,
            commit_index: 40,
            applied_index: 41,
            voter_ids: vec![42],
            revision: 43,
            key_count: 44,
            store_bytes: 45,
        }],
    };
    assert_eq!(NodeStatus::from(status), expected);
}

#[test]
fn roles_and_levels_have_their_names() {
    for (wire, role, name) in [
        (pb::Role::Unspecified, Role::Follower, "follower"),
        (pb::Role::Follower, Role::Follower, "follower"),
        (pb::Role::PreCandidate, Role::PreCandidate, "pre-candidate"),
        (pb::Role::Candidate, Role::Candidate, "candidate"),
        (pb::Role::Leader, Role::Leader, "leader"),
        (pb::Role::Newcomer, Role::Newcomer, "newcomer"),
    ] {
        assert_eq!((Role::from(wire), role.to_string()), (role, name.to_owned()));
    }
}

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
