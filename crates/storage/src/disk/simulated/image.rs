//! A simulated file: what a process sees, what is durable, and what lies between.

use super::chooser::Chooser;
use crate::disk::BLOCK_BYTES;

/// The unit that a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct FileImage {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// In the order they were made.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetSize(usize),
}

impl FileImage {
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self { seen: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() }
    }

    /// What a process sees.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let offset = usize::try_from(offset).expect("a simulated file fits memory");
        place(&mut self.seen, bytes, offset);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    /// Writes whole blocks: what is seen in front of `bytes` in their block, they, so many zeros, and zeros up to the end
    /// of a block.
    pub(super) fn append(&mut self, bytes: &[u8], zeros: usize, offset: u64) {
        if bytes.is_empty() && zeros == 0 {
            return;
        }
        let offset = usize::try_from(offset).expect("a simulated file fits memory");
        let start = offset - offset % BLOCK_BYTES;
        let mut blocks = vec![0; (offset - start + bytes.len() + zeros).next_multiple_of(BLOCK_BYTES)];
        let before = self.seen.get(start..offset.min(self.seen.len())).unwrap_or_default();
        blocks[..before.len()].copy_from_slice(before);
        blocks[offset - start..][..bytes.len()].copy_from_slice(bytes);
        self.write(&blocks, start as u64);
    }

    pub(super) fn set_size(&mut self, bytes: u64) {
        let size = usize::try_from(bytes).expect("a simulated file fits memory");
        self.seen.resize(size, 0);
        self.unsynced.push(Change::SetSize(size));
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => place(&mut self.durable, &bytes, offset),
                Change::SetSize(size) => self.durable.resize(size, 0),
            }
        }
    }

    /// A sync failed: the operating system forgets that the changes are not durable.
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn lose_power(&mut self, choose: &mut Chooser) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => place_some(&mut self.durable, &bytes, offset, choose),
                Change::SetSize(size) => {
                    if choose.survives() {
                        self.durable.resize(size, 0);
                    }
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        for bytes in [&mut self.seen, &mut self.durable] {
            match bytes.get_mut(offset) {
                Some(byte) => *byte ^= 1 << (bit & 7),
                None => return false,
            }
        }
        true
    }
}

fn place(image: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// Places those parts of a write whose sector survives.
fn place_some(image: &mut Vec<u8>, bytes: &[u8], offset: usize, choose: &mut Chooser) {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done;
        let in_sector = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len() - done);
        if choose.survives() {
            place(image, &bytes[done..done + in_sector], at);
        }
        done += in_sector;
    }
}
