//! etcd v3's gRPC services. What a client can observe, texts of errors included, is as etcd does it.
//!
//! The services translate: they make the service's requests of etcd's messages, and etcd's answers and errors of
//! what the [service](crate::service) says.

pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod error;
mod header;
pub(crate) mod kv;
mod large;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod watch;
