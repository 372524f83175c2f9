//! The `ruvector` command line.
fn main() {}
