//! A state that serde can write, as a state machine.
//!
//! Whoever has such a state says what a command does to it ([`SimpleMachine`]); [`Simple`] does the rest.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::{Committed, RestoreError, StateMachine};

/// A small state that serde can write, and what a command does to it.
///
/// What [`StateMachine`] says of determinism holds here, too. Moreover, equal states must be written as equal bytes,
/// because replicas compare hashes of them: use maps that are ordered, not hash maps.
///
/// Commands and states are written by postcard. Snapshots and entries of an older version of the program must still be
/// read by a newer one: add variants at the end of an `enum`, and change or reorder no fields.
pub trait SimpleMachine: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What is asked of the machine.
    type Command: Serialize + DeserializeOwned;
    /// What a command's proposer is answered.
    type Response: Debug + Send + 'static;

    /// Applies one command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;
}

/// The state machine of a [`SimpleMachine`].
///
/// Its costs rise with the state. A command that follows a read copies the state, because the reader keeps its version.
/// A comparison of replicas writes the state to hash it. A state of some megabytes is fine; a larger one wants a
/// [`StateMachine`] of its own.
///
/// # Panics
/// Its methods panic if the state can't be written, which depends on its type alone.
#[derive(Clone, Debug, Default)]
pub struct Simple<S>(Arc<S>);

/// Bytes that are no command of the machine, or a command that has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no command of this machine: {0}")]
pub struct CommandError(String);

impl<S: SimpleMachine> Simple<S> {
    /// The machine with its state of the beginning, which must be the same on all replicas.
    #[must_use]
    pub fn new(state: S) -> Self {
        Self(Arc::new(state))
    }

    /// A command as the log holds it.
    ///
    /// # Errors
    /// If serde can't write it.
    pub fn encode(command: &S::Command) -> Result<Bytes, CommandError> {
        postcard::to_stdvec(command).map(Bytes::from).map_err(|error| CommandError(error.to_string()))
    }
}

impl<S: SimpleMachine> StateMachine for Simple<S> {
    type Response = Result<S::Response, CommandError>;
    type View = Arc<S>;
    type Part = S;

    fn apply(&mut self, entry: &Committed) -> Self::Response {
        let command = decode(&entry.command).map_err(CommandError)?;
        Ok(Arc::make_mut(&mut self.0).apply(command))
    }

    fn view(&self) -> Arc<S> {
        Arc::clone(&self.0)
    }

    fn state_hash(&self) -> u128 {
        let bytes = postcard::to_stdvec(&*self.0);
        xxh3_128(&bytes.unwrap_or_else(|error| panic!("serde can't write the machine's state: {error}")))
    }

    fn write_snapshot(view: &Arc<S>, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&postcard::to_stdvec(&**view).map_err(io::Error::other)?)
    }

    fn read_snapshot(reader: &mut (dyn Read + Send)) -> impl Iterator<Item = Result<S, RestoreError>> + Send {
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes).map_err(RestoreError::from);
        let state = read.and_then(|_| decode(&bytes).map_err(RestoreError::Format));
        std::iter::once(state)
    }

    fn restore_parts(
        &mut self,
        parts: impl Iterator<Item = Result<S, RestoreError>>,
    ) -> Result<(), RestoreError> {
        let state = parts.last().ok_or_else(|| RestoreError::Format("it holds no state".to_owned()))??;
        self.0 = Arc::new(state);
        Ok(())
    }
}

/// Reads all of the bytes as one value.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes follow it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    struct Tally(BTreeMap<String, u64>);

    impl SimpleMachine for Tally {
        type Command = String;
        type Response = u64;

        fn apply(&mut self, name: String) -> u64 {
            let count = self.0.entry(name).or_default();
            *count += 1;
            *count
        }
    }

    fn apply(machine: &mut Simple<Tally>, command: Bytes) -> Result<u64, CommandError> {
        machine.apply(&Committed { index: 1, time_ms: 1, command })
    }

    fn count(machine: &mut Simple<Tally>, name: &str) -> u64 {
        apply(machine, Simple::<Tally>::encode(&name.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn a_version_that_is_read_stays_as_it_is() {
        let mut machine = Simple::<Tally>::default();
        assert_eq!(count(&mut machine, "a"), 1);
        let version = machine.view();
        assert_eq!(count(&mut machine, "a"), 2);
        assert_eq!((version.0["a"], machine.view().0["a"]), (1, 2));
    }

    #[test]
    fn bytes_that_are_no_command_change_nothing() {
        let mut machine = Simple::<Tally>::default();
        let before = machine.state_hash();
        for command in [&b""[..], b"\x05abc", b"\x01ab"] {
            let refusal = apply(&mut machine, Bytes::from_static(command)).unwrap_err();
            assert!(refusal.to_string().starts_with("no command of this machine"), "{refusal}");
        }
        assert_eq!(machine.state_hash(), before);
    }

    #[test]
    fn a_snapshot_restores_the_state_and_a_damaged_one_nothing() {
        let mut machine = Simple::<Tally>::default();
        count(&mut machine, "a");
        count(&mut machine, "b");
        let mut bytes = Vec::new();
        Simple::<Tally>::write_snapshot(&machine.view(), &mut bytes).unwrap();
        let mut restored = Simple::<Tally>::default();
        assert!(restored.restore(&mut &bytes[..bytes.len() - 1]).is_err());
        assert_eq!(*restored.view(), Tally::default());
        restored.restore(&mut &bytes[..]).unwrap();
        assert_eq!(restored.view(), machine.view());
        assert_eq!(restored.state_hash(), machine.state_hash());
        assert_ne!(restored.state_hash(), Simple::<Tally>::default().state_hash());
    }
}
