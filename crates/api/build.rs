//! Generates the Rust code of the protocol definitions, without an installed `protoc`.

use std::error::Error;

const DEFINITIONS: [&str; 5] = ["mvcc.proto", "etcd.proto", "ruvector.proto", "native.proto", "health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(DEFINITIONS, ["proto"])?;
    // Keys and values are slices of the request's buffer, not copies.
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
