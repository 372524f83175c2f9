//! An open file of a simulated disk.

use std::io;
use std::sync::MutexGuard;

use super::operation::Operation;
use super::state::{SharedState, State};
use crate::disk::{BLOCK_BYTES, DiskFile};

#[derive(Debug)]
pub(super) struct SimulatedFile {
    pub(super) disk: SharedState,
    /// What it was called when it was opened, for traces.
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) epoch: u64,
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("the file was opened before the simulated machine went down"));
        }
        Ok(state)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state()?;
        state.check_up()?;
        let bytes = state.files[self.number].bytes();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buffer.len())?))
            .and_then(|range| bytes.get(range))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin(Operation::Write { file: self.name.clone(), offset, bytes: bytes.len() })?;
        let size = state.files[self.number].bytes().len() as u64;
        state.check_space((offset + bytes.len() as u64).saturating_sub(size))?;
        state.files[self.number].write(bytes, offset);
        Ok(())
    }

    fn append_at(&mut self, bytes: &[u8], zeros: usize, offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin(Operation::Write { file: self.name.clone(), offset, bytes: bytes.len() })?;
        // Whole blocks, as the real disk does where it can.
        let end = (offset + (bytes.len() + zeros) as u64).next_multiple_of(BLOCK_BYTES as u64);
        // The rest of its last block is the file's already.
        let size = (state.files[self.number].bytes().len() as u64).next_multiple_of(BLOCK_BYTES as u64);
        state.check_space(end.saturating_sub(size))?;
        state.files[self.number].append(bytes, zeros, offset);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state()?;
        let was_up = state.check_up().is_ok();
        let begun = state.begin(Operation::Sync(self.name.clone()));
        if begun.is_ok() {
            state.files[self.number].sync();
        } else if was_up {
            state.files[self.number].fail_sync();
        }
        begun
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.state()?;
        state.check_up()?;
        Ok(state.files[self.number].bytes().len() as u64)
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin(Operation::SetSize { file: self.name.clone(), bytes })?;
        let size = state.files[self.number].bytes().len() as u64;
        state.check_space(bytes.saturating_sub(size))?;
        state.files[self.number].set_size(bytes);
        Ok(())
    }
}
