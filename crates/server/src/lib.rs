//! The client-facing protocols over a node: etcd gRPC, administration, health and metrics; the daemon.
