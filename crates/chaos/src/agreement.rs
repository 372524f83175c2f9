//! Do the nodes hold the same state?

use std::collections::BTreeMap;

/// Every state that any node ever told of, by its group and the index of the entry that it is the state after.
#[derive(Debug, Default)]
pub struct States {
    hashes: BTreeMap<(String, u64), (String, String)>,
    violations: Vec<String>,
}

impl States {
    /// A node tells the hash of its state of a group.
    pub fn observe(&mut self, node: &str, group: &str, index: u64, hash: &str) {
        let state = (group.to_owned(), index);
        let (other, known) = self.hashes.entry(state).or_insert_with(|| (node.to_owned(), hash.to_owned()));
        if known != hash {
            self.violations.push(format!(
                "state: after entry {index} of group {group} {node}'s hash is {hash}, and {other}'s was {known}"
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
        states.observe("node-1", "metadata", 7, "aa");
        states.observe("node-2", "metadata", 8, "bb");
        states.observe("node-3", "metadata", 7, "aa");
        states.observe("node-3", "other", 7, "dd");
        states.observe("node-3", "metadata", 8, "cc");
        assert_eq!(states.into_violations().len(), 1);
    }
}
