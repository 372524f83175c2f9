//! The systems that are measured.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A system that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// Three nodes of etcd.
    Etcd,
    /// Three nodes of this project.
    Ruvector,
    /// Three nodes of ZooKeeper.
    #[value(name = "zookeeper")]
    ZooKeeper,
    /// One server of etcd's API that answers at once and does nothing: what unary gRPC can do here.
    Ceiling,
}

impl System {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Ruvector => "ruvector",
            Self::ZooKeeper => "ZooKeeper",
            Self::Ceiling => "ceiling",
        }
    }

    /// How many processes it consists of.
    pub(crate) fn node_count(self) -> u16 {
        match self {
            Self::Etcd | Self::Ruvector | Self::ZooKeeper => 3,
            Self::Ceiling => 1,
        }
    }

    /// Whether it replicates and keeps what it is given, behind etcd's API.
    pub(crate) fn is_etcd_like(self) -> bool {
        matches!(self, Self::Etcd | Self::Ruvector)
    }
}
