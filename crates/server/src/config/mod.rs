//! What a server is told: one TOML file, flags over it, defaults under it.

mod error;
mod limits;
mod retention;
mod tuning;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ruvector_node::state_machine::kv::Retention;
use ruvector_node::{METADATA, Tuning};
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
use error::check_bounds;
pub use limits::Limits;
pub use retention::RetentionOptions;
use tuning::TuningKeys;

/// Everything a server needs to start, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The cluster's name.
    pub cluster: String,
    /// This node's name, unique in the cluster.
    pub id: String,
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// Where clients are listened for, `host:port`; port 0 lets the system choose.
    pub listen_client: String,
    /// Where peers are listened for, `host:port`.
    pub listen_peer: String,
    /// Where clients reach this node, `host:port`, if that is not where it listens.
    pub advertise_client: Option<String>,
    /// The first members, name and peer address; may be empty on a data directory that was used before.
    pub initial_nodes: Vec<(String, String)>,
    /// The groups beside the metadata group, with the names of their members; all nodes if none are named. May be empty on a
    /// data directory that was used before.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Listen on other addresses than loopback although neither encryption nor passwords protect them.
    pub insecure: bool,
    /// What is logged, in the form of `RUST_LOG`; `None` leaves it to `RUST_LOG`, or else `info`.
    pub log_level: Option<String>,
    /// The file that is logged to, kept at 8 MiB with three older ones beside it; `None` means standard error.
    pub log_file: Option<PathBuf>,
    /// How many threads serve clients. One costs least for each request.
    pub client_threads: usize,
    /// What clients may ask at most.
    pub limits: Limits,
    /// How much history is kept while this node leads.
    pub retention: Retention,
    /// The node's intervals and limits.
    pub tuning: Tuning,
}

/// What a file or a command line says; every part may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOptions {
    /// See [`ServerConfig::cluster`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// See [`ServerConfig::id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// See [`ServerConfig::data_dir`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// See [`ServerConfig::listen_client`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_client: Option<String>,
    /// See [`ServerConfig::listen_peer`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_peer: Option<String>,
    /// See [`ServerConfig::advertise_client`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_client: Option<String>,
    /// See [`ServerConfig::insecure`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// See [`ServerConfig::log_level`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// See [`ServerConfig::log_file`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<PathBuf>,
    /// See [`ServerConfig::client_threads`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_threads: Option<usize>,
    /// See [`ServerConfig::initial_nodes`]: names to peer addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_nodes: Option<BTreeMap<String, String>>,
    /// See [`ServerConfig::groups`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeMap<String, Vec<String>>>,
    /// See [`ServerConfig::limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// See [`ServerConfig::retention`].
    #[serde(default, skip_serializing_if = "RetentionOptions::is_empty")]
    pub retention: RetentionOptions,
    /// See [`ServerConfig::tuning`].
    #[serde(default, with = "tuning::optional", skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
}

impl ServerOptions {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], [`ConfigError::Invalid`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&file, &text),
            Err(error) => Err(ConfigError::Unreadable { file, reason: error.to_string() }),
        }
    }

    /// Reads TOML text; `file` is only its name in errors.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(""));
            ConfigError::Invalid {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                reason: error.message().replace('\n', " "),
            }
        })
    }

    /// The text that [`from_toml`](Self::from_toml) reads back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a form in TOML, and tables come last")
    }

    /// What is said here, and for the rest what `fallback` says: `flags.or(file)`.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            cluster: self.cluster.or(fallback.cluster),
            id: self.id.or(fallback.id),
            data_dir: self.data_dir.or(fallback.data_dir),
            listen_client: self.listen_client.or(fallback.listen_client),
            listen_peer: self.listen_peer.or(fallback.listen_peer),
            advertise_client: self.advertise_client.or(fallback.advertise_client),
            insecure: self.insecure.or(fallback.insecure),
            log_level: self.log_level.or(fallback.log_level),
            log_file: self.log_file.or(fallback.log_file),
            client_threads: self.client_threads.or(fallback.client_threads),
            initial_nodes: self.initial_nodes.or(fallback.initial_nodes),
            groups: self.groups.or(fallback.groups),
            limits: self.limits.or(fallback.limits),
            retention: self.retention.or(fallback.retention),
            tuning: self.tuning.or(fallback.tuning),
        }
    }

    /// The complete configuration, with defaults for what may be left out.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], [`ConfigError::Value`].
    pub fn into_config(self) -> Result<ServerConfig, ConfigError> {
        let initial_nodes: Vec<_> = self.initial_nodes.unwrap_or_default().into_iter().collect();
        let config = ServerConfig {
            cluster: required(self.cluster, "cluster", "--cluster")?,
            id: required(self.id, "id", "--id")?,
            data_dir: required(self.data_dir, "data_dir", "--data-dir")?,
            listen_client: required(self.listen_client, "listen_client", "--listen-client")?,
            listen_peer: required(self.listen_peer, "listen_peer", "--listen-peer")?,
            advertise_client: self.advertise_client,
            initial_nodes,
            groups: self.groups.unwrap_or_default(),
            insecure: self.insecure.unwrap_or(false),
            log_level: self.log_level,
            log_file: self.log_file,
            client_threads: self.client_threads.unwrap_or(1),
            limits: self.limits.unwrap_or_default(),
            retention: self.retention.into_retention()?,
            tuning: self.tuning.unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }
}

impl ServerConfig {
    /// What `into_config` promises of the values.
    fn check(&self) -> Result<(), ConfigError> {
        let value = |key, reason: String| Err(ConfigError::Value { key, reason });
        if self.cluster.is_empty() {
            return value("cluster", "must not be empty".to_owned());
        }
        if self.id.is_empty() {
            return value("id", "must not be empty".to_owned());
        }
        check_bounds("client_threads", self.client_threads as u64, 1, CLIENT_THREADS_MAX)?;
        if !self.initial_nodes.is_empty() && !self.initial_nodes.iter().any(|(name, _)| *name == self.id) {
            let names: Vec<_> = self.initial_nodes.iter().map(|(name, _)| name.as_str()).collect();
            return value(
                "initial_nodes",
                format!("must name this node, `{}`, too; it names {}", self.id, names.join(", ")),
            );
        }
        if self.groups.get(METADATA).is_some_and(|members| !members.is_empty()) {
            return value("groups", format!("must name no members of {METADATA}: every node is one"));
        }
        self.limits.check()?;
        TuningKeys::check(&self.tuning)
    }
}

/// Reads `node-1=host:port,node-2=host:port`, the form of the flag.
///
/// # Errors
/// [`ConfigError::Value`] that says which part is wrong.
pub fn parse_initial_nodes(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let wrong = |reason: String| ConfigError::Value { key: "initial_nodes", reason };
    let mut nodes = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, address)) = part.split_once('=').filter(|(name, address)| {
            !name.is_empty() && address.rsplit_once(':').is_some_and(|(host, _)| !host.is_empty())
        }) else {
            return Err(wrong(format!("has `{part}`, which is not of the form name=host:port")));
        };
        if nodes.insert(name.to_owned(), address.to_owned()).is_some() {
            return Err(wrong(format!("names `{name}` twice")));
        }
        if !addresses.insert(address.to_owned()) {
            return Err(wrong(format!("has the address {address} twice")));
        }
    }
    Ok(nodes)
}

/// Reads `metadata,shard-1,shard-2=node-1+node-2+node-3`, the form of the flag: groups with their members, which are all nodes
/// if none are named.
///
/// # Errors
/// [`ConfigError::Value`] that says which part is wrong.
pub fn parse_groups(text: &str) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let wrong = |reason: String| ConfigError::Value { key: "groups", reason };
    let mut groups = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, members) = part.split_once('=').unwrap_or((part, ""));
        let members: Vec<_> =
            members.split('+').filter(|member| !member.is_empty()).map(str::to_owned).collect();
        if name.is_empty() || part.contains('=') && members.is_empty() {
            return Err(wrong(format!("has `{part}`, which is not of the form name or name=node-1+node-2")));
        }
        if groups.insert(name.to_owned(), members).is_some() {
            return Err(wrong(format!("names `{name}` twice")));
        }
    }
    Ok(groups)
}

/// More threads than this are surely a mistake.
const CLIENT_THREADS_MAX: u64 = 1024;

fn required<T>(value: Option<T>, key: &'static str, flag: &'static str) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { key, flag })
}

#[cfg(test)]
mod tests;
