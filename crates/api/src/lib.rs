//! The protocols that clients speak, as Rust types, with their gRPC clients and servers.
//!
//! [`etcdserverpb`] and [`mvccpb`] are etcd v3's wire format; [`health`] is what gRPC's own tools ask, and
//! [`ruvector`] what etcd has no words for. The
//! definitions are in `proto/`, and the documentation of every message and field is there.
//!
//! What this crate does not do: it holds nothing but definitions and what is generated from them.

/// The services of etcd v3.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// What etcd's store holds.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// gRPC's health checking.
pub mod health {
    /// Version 1 of it.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
    pub mod v1 {
        tonic::include_proto!("grpc.health.v1");
    }
}

/// This project's own services.
pub mod ruvector {
    /// Version 1 of them.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
    pub mod v1 {
        tonic::include_proto!("ruvector.v1");
    }
}
