//! What must be refused: one clear line, an exit code that is not zero, nothing lost, no panic.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;
use ruvector_client::{ClientError, PutOptions};

use crate::ports::free_base_port;
use crate::support::{Cluster, PATIENCE, Ran, Turn, run, ruvector};

fn serve(home: &std::path::Path, arguments: &[&str]) -> Ran {
    let data_dir = home.join("data");
    let mut serve = ruvector(home);
    serve.args(["serve", "--cluster", "c", "--id", "node-1"]).arg("--data-dir").arg(data_dir);
    run(serve.args(arguments), "")
}

#[test]
fn ports_in_use_are_named() {
    let _turn = Turn::take();
    let home = tempfile::tempdir().unwrap();
    let base_port = free_base_port(1);
    let peer_port = base_port + 1;
    let _taken = TcpListener::bind(("127.0.0.1", peer_port)).unwrap();
    let (base, peer) = (base_port.to_string(), peer_port.to_string());
    let init = run(ruvector(home.path()).args(["init", "--nodes", "1", "--base-port", &base]), "");
    init.failed_saying(&[&peer, "in use"]);
    let client_address = format!("127.0.0.1:{base}");
    let peer_address = format!("127.0.0.1:{peer}");
    let initial_nodes = format!("node-1={peer_address}");
    serve(
        home.path(),
        &[
            "--listen-client",
            &client_address,
            "--listen-peer",
            &peer_address,
            "--initial-nodes",
            &initial_nodes,
        ],
    )
    .failed_saying(&[&peer_address]);
}

#[test]
fn an_address_that_others_can_reach_needs_consent() {
    let _turn = Turn::take();
    let home = tempfile::tempdir().unwrap();
    let initial_nodes = ["--initial-nodes", "node-1=127.0.0.1:1"];
    for addresses in [
        ["--listen-client", "0.0.0.0:0", "--listen-peer", "127.0.0.1:0"],
        ["--listen-client", "127.0.0.1:0", "--listen-peer", "0.0.0.0:0"],
    ] {
        serve(home.path(), &[&addresses[..], &initial_nodes[..]].concat())
            .failed_saying(&["0.0.0.0", "insecure"]);
    }
}

#[test]
fn an_unknown_key_in_the_configuration_is_named() {
    let _turn = Turn::take();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("node.toml");
    std::fs::write(&file, "cluster = \"c\"\nelection_timeout = 5\n").unwrap();
    let ran = run(ruvector(home.path()).args(["serve", "--config"]).arg(&file), "");
    ran.failed_saying(&["line 2", "election_timeout"]);
    let missing = run(ruvector(home.path()).args(["serve", "--config", "missing.toml"]), "");
    missing.failed_saying(&["missing.toml"]);
}

#[test]
fn a_data_directory_that_is_in_use_or_of_another_cluster_is_refused() {
    let cluster = Cluster::start(1);
    let base = free_base_port(1).to_string();
    let again = cluster.verb(&["init", "--nodes", "1", "--name", "e2e", "--base-port", &base]);
    again.failed_saying(&["e2e"]);
    let directory = cluster.nodes[0].data_dir.parent().unwrap().to_str().unwrap();
    let other =
        cluster.verb(&["init", "--nodes", "1", "--name", "x", "--base-port", &base, "--data-dir", directory]);
    other.failed_saying(&[directory]);

    let mut second = cluster.nodes[0].clone();
    second.client = "127.0.0.1:0".to_owned();
    second.peer = "127.0.0.1:0".to_owned();
    run(&mut second.serve(&cluster.home, "e2e"), "").failed_saying(&["in use by another process"]);
    cluster.stop();
    run(&mut second.serve(&cluster.home, "other"), "").failed_saying(&["e2e", "other"]);
    second.id = "node-2".to_owned();
    run(&mut second.serve(&cluster.home, "e2e"), "").failed_saying(&["node-1", "node-2"]);
}

#[test]
fn a_request_that_is_too_large_is_refused_as_etcd_does() {
    let cluster = Cluster::start(3);
    for bytes in [1_600_000, 10_000_000] {
        let value = Bytes::from(vec![b'x'; bytes]);
        let refused = cluster.wait(cluster.client().put("large", value, PutOptions::default()));
        assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    }
    cluster.verb(&["put", "large", "enough"]).succeeded();
    let most = Bytes::from(vec![b'x'; 1_500_000]);
    cluster.wait(cluster.client().put("large", most, PutOptions::default())).unwrap();
    cluster.await_agreement();
}

#[test]
fn garbage_on_either_port_is_closed_and_harms_nobody() {
    let cluster = Cluster::start(3);
    let garbage: [&[u8]; 5] = [
        b"\r\n\r\n",
        &[0xff; 100_000],
        &[0; 100_000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"ruv-dial\x03\0\0\0\xff\xff\xff\xff\0\0\0\0",
    ];
    for address in cluster.nodes.iter().flat_map(|node| [&node.client, &node.peer]) {
        for bytes in garbage {
            let mut connection = TcpStream::connect(address).unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            // It may be closed before all of it is written.
            let _ = connection.write_all(bytes);
            let _ = connection.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let ended = connection.read_to_end(&mut answer);
            let reset = matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(ended.is_ok() || reset, "{address} keeps a connection with garbage: {ended:?}");
        }
    }
    cluster.verb(&["put", "still", "here"]).succeeded();
    cluster.await_agreement();
    for node in &cluster.nodes {
        let log = node.log();
        let complaints = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
        assert!(complaints < 20, "{} logs too much of it:\n{log}", node.id);
    }
}
