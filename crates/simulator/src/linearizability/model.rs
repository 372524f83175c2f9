//! The sequential register that histories are held against.

/// A value that was written. Every write of a history writes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

/// A lease that a value may be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// What a client, or the end of a lease, does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reads.
    Get,
    /// Writes.
    Put {
        /// What.
        value: Value,
        /// The lease that the key is then attached to.
        lease: Option<Lease>,
    },
    /// Deletes.
    Delete,
    /// Writes or deletes if the key holds what is expected; otherwise does nothing.
    CompareAndSwap {
        /// What the key must hold; `None` if it must not exist.
        expected: Option<Value>,
        /// What it then holds; `None` deletes it.
        new: Option<Value>,
    },
    /// The lease ends, and the key is deleted if it is attached to it.
    EndLease {
        /// Which.
        lease: Lease,
    },
}

/// What an answer says of the key right before the operation took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observation {
    /// Nothing.
    Nothing,
    /// It held this value, or did not exist.
    Held(Option<Value>),
}

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Completion {
    /// It was answered.
    Answered {
        /// When.
        at: u64,
        /// What the answer revealed.
        observation: Observation,
    },
    /// Whether it took effect, or will, is not known.
    Unknown,
}

/// One operation on one key. Times only need to be comparable with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// What was asked for.
    pub action: Action,
    /// When: it took effect no earlier.
    pub invoked_at: u64,
    /// How it ended.
    pub completion: Completion,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register {
    /// The value; `None` if the key does not exist.
    pub value: Option<Value>,
    /// The lease that it is attached to.
    pub lease: Option<Lease>,
}

impl Operation {
    /// Whether the answer says that nothing was changed, whatever the operation was.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        let Completion::Answered { observation, .. } = self.completion else { return false };
        match (self.action, observation) {
            (Action::Get, _) | (Action::Delete, Observation::Held(None)) => true,
            (Action::CompareAndSwap { expected, .. }, Observation::Held(held)) => held != expected,
            (Action::CompareAndSwap { .. } | Action::Delete, Observation::Nothing | Observation::Held(_))
            | (Action::Put { .. } | Action::EndLease { .. }, _) => false,
        }
    }
}

impl Register {
    /// What the key holds after the operation took effect, or `None` if the operation's answer contradicts
    /// what it holds now.
    #[must_use]
    pub fn after(self, operation: &Operation) -> Option<Self> {
        match operation.completion {
            Completion::Answered { observation: Observation::Held(value), .. } if value != self.value => None,
            Completion::Answered { .. } | Completion::Unknown => Some(self.changed_by(operation.action)),
        }
    }

    fn changed_by(self, action: Action) -> Self {
        match action {
            Action::Get => self,
            Action::Put { value, lease } => Self { value: Some(value), lease },
            Action::Delete => Self::default(),
            Action::CompareAndSwap { expected, new } if expected == self.value => {
                Self { value: new, lease: None }
            }
            Action::CompareAndSwap { .. } => self,
            Action::EndLease { lease } if self.lease == Some(lease) => Self::default(),
            Action::EndLease { .. } => self,
        }
    }
}
