//! etcd v3's gRPC services. What a client can observe, texts of errors included, is as etcd does it.

pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod convert;
pub(crate) mod error;
pub(crate) mod kv;
pub(crate) mod large;
pub(crate) mod leader;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod renewals;
pub(crate) mod validate;
pub(crate) mod watch;
