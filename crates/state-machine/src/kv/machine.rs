//! Applying commands.

use std::io::{self, Read, Write};

use super::command::Response;
use super::view::KvView;
use crate::machine::{Committed, RestoreError, StateMachine};

/// The key-value machine.
#[derive(Debug, Default)]
pub struct KvMachine {}

impl StateMachine for KvMachine {
    type Response = Response;
    type View = KvView;

    fn apply(&mut self, entry: &Committed) -> Response {
        let _ = entry;
        todo!()
    }

    fn advance_time(&mut self, index: u64, time_ms: u64) {
        let _ = (index, time_ms);
        todo!()
    }

    fn wake_at_ms(&self) -> Option<u64> {
        todo!()
    }

    fn view(&self) -> KvView {
        todo!()
    }

    fn state_hash(&self) -> u128 {
        todo!()
    }

    fn write_snapshot(view: &KvView, writer: &mut dyn Write) -> io::Result<()> {
        let _ = (view, writer);
        todo!()
    }

    fn restore(&mut self, reader: &mut dyn Read) -> Result<(), RestoreError> {
        let _ = reader;
        todo!()
    }
}
