//! What several verbs take and print alike.

mod keys;
mod local;
mod quorum;

pub(crate) use keys::{KeyForm, Keys, get_json, key_value_json, key_value_table};
pub(crate) use local::{describe, leader_name, print_nodes};
pub(crate) use quorum::QuorumReport;
