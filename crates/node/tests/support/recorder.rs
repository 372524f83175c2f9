//! A machine that records what it was told.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ruvector_node::{Committed, RestoreError, StateMachine};

/// Remembers all commands, in order.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) commands: Vec<Bytes>,
    /// Its state is not what the log makes it: as if a bit of its memory had flipped.
    pub(crate) is_damaged: bool,
    /// While this is set, whoever asks for a view stands still: the node's own thread among them.
    pub(crate) is_paused: Arc<AtomicBool>,
    /// How long it takes to apply a command, in milliseconds.
    pub(crate) apply_ms: Arc<AtomicU64>,
}

/// A machine that was given this command breaks off its snapshots, as often as [`SNAPSHOTS_THAT_BREAK_OFF`] says.
pub(crate) const BREAKS_SNAPSHOTS: &str = "break snapshots off";
/// How many are left to break off; of one test, since tests of a file share it.
pub(crate) static SNAPSHOTS_THAT_BREAK_OFF: AtomicUsize = AtomicUsize::new(0);

impl StateMachine for Recorder {
    type Response = usize;
    type View = Vec<Bytes>;
    type Part = Vec<Bytes>;

    fn apply(&mut self, entry: &Committed) -> usize {
        let apply_ms = self.apply_ms.load(Ordering::Relaxed);
        if apply_ms > 0 {
            std::thread::sleep(Duration::from_millis(apply_ms));
        }
        self.commands.push(entry.command.clone());
        self.commands.len()
    }

    fn advance_time(&mut self, _index: u64, _time_ms: u64) {}

    fn wake_at_ms(&self) -> Option<u64> {
        None
    }

    fn view(&self) -> Vec<Bytes> {
        while self.is_paused.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.commands.clone()
    }

    fn state_hash(&self) -> u128 {
        let seed = if self.is_damaged { 8 } else { 7 };
        self.commands.iter().flat_map(|command| command.iter().chain(b";")).fold(seed, |hash: u128, byte| {
            hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b) ^ u128::from(*byte)
        })
    }

    fn write_snapshot(view: &Vec<Bytes>, writer: &mut dyn Write) -> io::Result<()> {
        let breaks_off = |left: usize| left.checked_sub(1);
        if view.iter().any(|command| command == BREAKS_SNAPSHOTS)
            && SNAPSHOTS_THAT_BREAK_OFF.fetch_update(Ordering::Relaxed, Ordering::Relaxed, breaks_off).is_ok()
        {
            panic!("this is the panic that the test wants");
        }
        for command in view {
            writer.write_all(&u32::try_from(command.len()).map_err(io::Error::other)?.to_le_bytes())?;
            writer.write_all(command)?;
        }
        Ok(())
    }

    fn read_snapshot(
        reader: &mut (dyn Read + Send),
    ) -> impl Iterator<Item = Result<Vec<Bytes>, RestoreError>> + Send {
        std::iter::once(read_commands(reader))
    }

    fn restore_parts(
        &mut self,
        parts: impl Iterator<Item = Result<Vec<Bytes>, RestoreError>>,
    ) -> Result<(), RestoreError> {
        self.commands = parts.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(())
    }
}

fn read_commands(reader: &mut dyn Read) -> Result<Vec<Bytes>, RestoreError> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all)?;
    let mut rest = Bytes::from(all);
    let mut commands = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 4 {
            return Err(RestoreError::Format("it ends within a length".to_owned()));
        }
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if rest.len() < 4 + length {
            return Err(RestoreError::Format("it ends within a command".to_owned()));
        }
        commands.push(rest.slice(4..4 + length));
        rest = rest.slice(4 + length..);
    }
    Ok(commands)
}
