//! A disk in memory that loses what real disks lose, for the simulator and for crash tests.
//!
//! It is as unkind as POSIX allows: a write is durable after [`DiskFile::sync`] of its file, a name after
//! [`Disk::sync_directory`] of its directory, and not before. What was not synced when the power went is
//! kept or lost sector by sector. It draws nothing at random but from the seed it is given.

use std::io;

use super::{Disk, DiskFile};

mod chooser;
mod faults;
mod file;
mod image;
mod names;
mod operation;
mod state;

pub use image::SECTOR_BYTES;
pub use operation::Operation;
pub use state::TRACE_MAX;

use chooser::Chooser;
use file::SimulatedFile;
use image::FileImage;
use names::NameChange;
use state::SharedState;

/// How a machine goes down, and so what is on its disk when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Only the process died: the operating system still has every write, and what was not synced can still
    /// be lost when the power goes later.
    ProcessOnly,
    /// The power went and nothing survives that was not synced.
    LoseUnsynced,
    /// The power went; of each file an arbitrary subset of the unsynced sectors survives, of each directory
    /// an arbitrary prefix of the unsynced changes.
    Torn {
        /// Chooses which.
        seed: u64,
    },
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: SharedState,
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk that holds the same at this moment and goes its own way from then on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: SharedState::new(self.state.lock().clone()) }
    }

    /// The machine goes down and comes back: decides what survived, kills all open handles, clears all
    /// planned faults.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state.lock();
        match crash {
            Crash::ProcessOnly => {}
            Crash::LoseUnsynced => state.lose_power(&mut Chooser::Nothing),
            Crash::Torn { seed } => state.lose_power(&mut Chooser::Some { random: seed }),
        }
        state.epoch += 1;
        state.faults.clear();
    }

    /// From now on `operations_left` operations happen, and none after: every later one fails until
    /// [`crash`](Self::crash). With 0 the disk is dead at once.
    pub fn halt_after(&self, operations_left: u64) {
        self.state.lock().faults.halt_after(operations_left);
    }

    /// The operation after the next `operations_between` fails once with an error of this kind and changes
    /// nothing. A failed sync of a file is as bad as on Linux: what it should have made durable can still be
    /// read, but no later sync will make it durable.
    pub fn fail_after(&self, operations_between: u64, kind: io::ErrorKind) {
        self.state.lock().faults.fail_after(operations_between, kind);
    }

    /// Bounds the sum of all file sizes: a write beyond it fails with `StorageFull`. `None` lifts the bound.
    pub fn set_space_limit(&self, bytes: Option<u64>) {
        self.state.lock().faults.space_limit = bytes;
    }

    /// Flips one bit (0 to 7) of one byte of a file, durably. Returns false if the file has no such byte.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) -> bool {
        let mut state = self.state.lock();
        let Some(number) = state.names.find(file) else { return false };
        state.files[number].flip_bit(offset, bit)
    }

    /// How many operations that change the disk have been tried so far; reads do not count.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().faults.operations
    }

    /// How many files have been synced so far; directories do not count.
    #[must_use]
    pub fn file_syncs(&self) -> u64 {
        self.state.lock().faults.file_syncs
    }

    /// The operations since the last call, in order, those that failed included; at most the newest
    /// [`TRACE_MAX`].
    #[must_use]
    pub fn take_trace(&self) -> Vec<Operation> {
        std::mem::take(&mut self.state.lock().trace).into()
    }

    /// Replaces a file's contents durably, behind the back of whoever uses it; makes the file if need be.
    ///
    /// # Panics
    /// If its directory does not exist.
    pub fn set_contents(&self, file: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let number = state.names.find(file).unwrap_or(state.files.len());
        if number == state.files.len() {
            state.files.push(FileImage::default());
            state
                .names
                .place(NameChange::Create { name: file.to_owned(), file: number })
                .expect("the directory of a placed file exists");
        }
        state.files[number] = FileImage::durable(bytes);
    }

    /// A file's contents as a running process sees them.
    #[must_use]
    pub fn contents(&self, file: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.find(file).map(|number| state.files[number].bytes().to_vec())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.check_up()?;
        let number = match state.names.find(name) {
            Some(number) => number,
            None if create => {
                state.begin(Operation::Create(name.to_owned()))?;
                let number = state.files.len();
                state.names.change(NameChange::Create { name: name.to_owned(), file: number })?;
                state.files.push(FileImage::default());
                number
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let epoch = state.epoch;
        Ok(Box::new(SimulatedFile { disk: self.state.clone(), name: name.to_owned(), number, epoch }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_up()?;
        Ok(state.names.list(directory))
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.names.is_directory(name) {
            return state.check_up();
        }
        state.begin(Operation::CreateDirectory(name.to_owned()))?;
        for parent in names::with_parents(name) {
            if !state.names.is_directory(parent) {
                state.names.change(NameChange::CreateDirectory(parent.to_owned()))?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Rename { from: from.to_owned(), to: to.to_owned() })?;
        state.names.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Remove(name.to_owned()))?;
        state.names.change(NameChange::Remove(name.to_owned()))
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::SyncDirectory(name.to_owned()))?;
        state.names.sync(name)
    }
}
