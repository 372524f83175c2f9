//! What may happen to files on a disk that lies.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use ruvector_storage::{Disk, SimulatedDisk};

use crate::{byte, number, piece};

/// The unit in which disks lose and misplace things, in bytes.
const SECTOR_BYTES: usize = 512;

/// How much was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// One bit.
    OneBit,
    /// More than that.
    Much,
}

/// The files of a directory.
#[derive(Debug)]
pub struct Files {
    disk: SimulatedDisk,
    /// Contents by path.
    pub contents: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// All files directly in a directory.
    ///
    /// # Panics
    /// If the disk is out of order.
    #[must_use]
    pub fn read(disk: &SimulatedDisk, directory: &str) -> Self {
        let names = disk.list(directory).expect("a simulated disk lists its files");
        let with_contents = names.into_iter().map(|name| {
            let path = format!("{directory}/{name}");
            let contents = disk.contents(&path).expect("a listed file has contents");
            (path, contents)
        });
        Self { disk: disk.clone(), contents: with_contents.collect() }
    }

    /// Puts them back, durably.
    pub fn write(&self) {
        for (path, contents) in &self.contents {
            self.disk.set_contents(path, contents);
        }
    }

    /// Damages them as the rest of the input says.
    pub fn damage(&mut self, input: &mut Unstructured<'_>) -> Damage {
        let mut damage = Damage::None;
        while !input.is_empty() {
            let one_bit = self.damage_once(input);
            damage = if one_bit && damage == Damage::None { Damage::OneBit } else { Damage::Much };
        }
        damage
    }

    /// Answers whether it was but one bit.
    fn damage_once(&mut self, input: &mut Unstructured<'_>) -> bool {
        let paths: Vec<String> = self.contents.keys().cloned().collect();
        let chosen = |input: &mut Unstructured<'_>| paths.get(usize::from(byte(input)) % paths.len().max(1));
        let kind = byte(input) % 6;
        let (Some(path), other) = (chosen(input), self.contents.clone()) else { return false };
        let Some(contents) = self.contents.get_mut(path) else { return false };
        let at = usize::from(number(input)) % contents.len().max(1);
        let sector = at - at % SECTOR_BYTES..(at - at % SECTOR_BYTES + SECTOR_BYTES).min(contents.len());
        match kind {
            0 => {
                if let Some(byte_at) = contents.get_mut(at) {
                    *byte_at ^= 1 << (byte(input) % 8);
                    return true;
                }
            }
            1 => contents.iter_mut().skip(at).zip(piece(input)).for_each(|(old, new)| *old = *new),
            2 => contents.truncate(at),
            3 => contents[sector].fill(0),
            4 => {
                // A sector that was meant for another place, or the other way round.
                let source = chosen(input).and_then(|path| other.get(path)).map_or(&[][..], |bytes| bytes);
                let from = usize::from(byte(input)) * SECTOR_BYTES;
                contents[sector].iter_mut().zip(source.iter().skip(from)).for_each(|(old, new)| *old = *new);
            }
            _ => contents.extend_from_slice(piece(input)),
        }
        false
    }
}
