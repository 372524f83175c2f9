//! Do the nodes hold the same state?

use std::collections::BTreeMap;

/// Every state that any node ever told of, by the index of the entry that it is the state after.
#[derive(Debug, Default)]
pub struct States {
    hashes: BTreeMap<u64, (String, String)>,
    violations: Vec<String>,
}

impl States {
    /// A node tells the hash of its state.
    pub fn observe(&mut self, node: &str, index: u64, hash: &str) {
        let (other, known) = self.hashes.entry(index).or_insert_with(|| (node.to_owned(), hash.to_owned()));
        if known != hash {
            self.violations.push(format!(
                "state: after entry {index} {node}'s hash is {hash}, and {other}'s was {known}"
            ));
        }
    }

    /// What contradicted each other.
    #[must_use]
    pub fn into_violations(self) -> Vec<String> {
        self.violations
    }
}

#[cfg(test)]
mod tests {
    use super::States;

    #[test]
    fn equal_indexes_must_have_equal_hashes() {
        let mut states = States::default();
        states.observe("node-1", 7, "aa");
        states.observe("node-2", 8, "bb");
        states.observe("node-3", 7, "aa");
        states.observe("node-3", 8, "cc");
        assert_eq!(states.into_violations().len(), 1);
    }
}
