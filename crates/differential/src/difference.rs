//! A field that is not the same in two answers.

use std::fmt;

/// A field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The way to the field.
    pub way: String,
    /// What etcd has there.
    pub etcd: Option<String>,
    /// What our nodes have there.
    pub ours: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{}: etcd {}, ours {}", self.way, shown(&self.etcd), shown(&self.ours))
    }
}
