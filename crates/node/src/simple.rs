//! Commands for a machine that serde can write.

use ruvector_state_machine::machine::simple::{CommandError, Simple, SimpleMachine};

use crate::handle::Handle;
use crate::outcome::NodeError;

impl<S: SimpleMachine> Handle<Simple<S>> {
    /// Has a command committed and applied, as [`propose`](Self::propose) does, and returns what the machine answered.
    ///
    /// # Errors
    /// Those of [`propose`](Self::propose); [`NodeError::Refused`] if serde can't write the command, or can't read what
    /// it wrote.
    pub async fn apply(&self, command: &S::Command) -> Result<S::Response, NodeError> {
        let refused = |error: CommandError| NodeError::Refused(error.to_string());
        let encoded = Simple::<S>::encode(command).map_err(refused)?;
        self.propose(encoded).await?.response.map_err(refused)
    }
}
