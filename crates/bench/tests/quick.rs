//! Every load runs for a moment, to see that the loads, and what is measured of them, work.
#![allow(clippy::unwrap_used)]

use std::process::Command;

/// Fails if a load of this project's has errors or does nothing. etcd is measured with it if it is there.
#[test]
fn every_load_works() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("--quick").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("native-put"), "{said}");
}
