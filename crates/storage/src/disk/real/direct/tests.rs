//! Direct writes against a vector of bytes, and what becomes of those that the system refuses, cuts short or interrupts.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{RealDisk, RealFile};
use super::*;
use crate::disk::{Disk, DiskFile};

const NAMES: [&str; 2] = ["one", "other"];
/// Files may become this large, and a little larger.
const FILE_BYTES: usize = 6 << 20;

/// What is done to one of two files.
#[derive(Clone, Debug)]
enum Action {
    Append { at: Place, bytes: usize, zeros: usize },
    Write { offset: usize, bytes: usize },
    Resize(usize),
    Sync,
    Reopen,
}

/// Where is appended.
#[derive(Clone, Debug)]
enum Place {
    /// So far behind the end of the last append: a log leaves nothing between.
    Behind(usize),
    Anywhere(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let blocks = || (0..4_usize).prop_map(|blocks| blocks * BLOCK_BYTES);
    let few = || 0..9_000_usize;
    let bytes = || prop_oneof![4 => 0..300_usize, 4 => few(), 2 => blocks(), 1 => 0..5_usize << 20];
    let offset = || prop_oneof![few(), 0..FILE_BYTES, blocks()];
    let zeros = prop_oneof![4 => Just(0), 1 => few(), 1 => 0..3_usize << 20];
    let at = prop_oneof![
        4 => Just(Place::Behind(0)),
        2 => (0..500_usize).prop_map(Place::Behind),
        1 => offset().prop_map(Place::Anywhere),
    ];
    prop_oneof![
        8 => (at, bytes(), zeros).prop_map(|(at, bytes, zeros)| Action::Append { at, bytes, zeros }),
        2 => (offset(), bytes()).prop_map(|(offset, bytes)| Action::Write { offset, bytes }),
        1 => offset().prop_map(Action::Resize),
        1 => Just(Action::Sync),
        1 => Just(Action::Reopen),
    ]
}

/// A file and what it should hold.
struct Pair<'a> {
    disk: &'a RealDisk,
    name: &'static str,
    file: RealFile,
    model: Vec<u8>,
    /// Where the last append ended.
    end: usize,
    /// How often something was written: no two writes have the same bytes.
    writes: usize,
}

impl<'a> Pair<'a> {
    fn new(disk: &'a RealDisk, name: &'static str) -> Self {
        Self { disk, name, file: disk.open_file(name, true).unwrap(), model: Vec::new(), end: 0, writes: 0 }
    }

    fn run(&mut self, action: &Action) {
        self.writes += 1;
        let contents = |bytes: usize| (0..bytes).map(|at| (at * 7 + self.writes * 31) as u8 | 1).collect();
        match *action {
            Action::Append { ref at, bytes, zeros } => {
                let offset = match at {
                    Place::Behind(gap) => (self.end + gap).min(FILE_BYTES),
                    Place::Anywhere(offset) => *offset,
                };
                let bytes: Vec<u8> = contents(bytes);
                self.file.append_at(&bytes, zeros, offset as u64).unwrap();
                self.end = offset + bytes.len();
                let mut expected = bytes;
                expected.resize(expected.len() + zeros, 0);
                if self.is_direct() && !expected.is_empty() {
                    expected.resize((offset + expected.len()).next_multiple_of(BLOCK_BYTES) - offset, 0);
                }
                self.place(&expected, offset);
            }
            Action::Write { offset, bytes } => {
                let bytes: Vec<u8> = contents(bytes);
                self.file.write_at(&bytes, offset as u64).unwrap();
                self.place(&bytes, offset);
            }
            Action::Resize(bytes) => {
                self.file.set_size(bytes as u64).unwrap();
                self.model.resize(bytes, 0);
            }
            Action::Sync => self.file.sync().unwrap(),
            Action::Reopen => self.file = self.disk.open_file(self.name, false).unwrap(),
        }
    }

    fn place(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if !bytes.is_empty() && self.model.len() < end {
            self.model.resize(end, 0);
        }
        if !bytes.is_empty() {
            self.model[offset..end].copy_from_slice(bytes);
        }
    }

    fn is_direct(&self) -> bool {
        matches!(self.file.direct.get(), Some(Some(_)))
    }

    fn check(&self) {
        assert_eq!(self.file.size().unwrap(), self.model.len() as u64, "{}", self.name);
        let mut found = vec![0; self.model.len()];
        self.file.read_at(&mut found, 0).unwrap();
        if let Some(at) = (0..found.len()).find(|&at| found[at] != self.model[at]) {
            panic!("{}: at {at} there is {} and not {}", self.name, found[at], self.model[at]);
        }
    }
}

/// Does all of it to two files of a disk.
fn run(actions: &[(usize, Action)], refused: bool) {
    let directory = TempDir::new().unwrap();
    let disk = RealDisk::new(directory.path());
    if refused {
        disk.direct_writes.refuse(&ErrorKind::InvalidInput.into());
    }
    let mut pairs = NAMES.map(|name| Pair::new(&disk, name));
    for (place, action) in actions {
        pairs[*place].run(action);
        pairs[*place].check();
        assert!(!(refused && pairs[*place].is_direct()));
    }
    pairs.iter().for_each(Pair::check);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_file_is_what_its_naive_twin_is(actions in proptest::collection::vec((0..2_usize, action()), 1..30)) {
        run(&actions, false);
        run(&actions, true);
    }
}

/// A disk whose file system takes direct writes; nothing where there is none.
fn direct_disk() -> Option<(TempDir, RealDisk)> {
    let directory = TempDir::new().unwrap();
    let disk = RealDisk::new(directory.path());
    let mut file = disk.open_file("probe", true).unwrap();
    file.append_at(b"probe", 0, 0).unwrap();
    if !matches!(file.direct.get(), Some(Some(_))) {
        eprintln!("skipped: {} takes no direct writes", directory.path().display());
        return None;
    }
    Some((directory, disk))
}

#[test]
fn what_is_read_through_the_page_cache_is_what_was_written_past_it() {
    let Some((directory, disk)) = direct_disk() else { return };
    let mut file = disk.open_file("file", true).unwrap();
    // In the page cache by every way there is: written and not synced, and read.
    file.write_at(&[b'o'; 3 * BLOCK_BYTES], 0).unwrap();
    for round in 0..200_u64 {
        let at = round * 37;
        file.append_at(&[b'a' + (round % 26) as u8; 37], 0, at).unwrap();
        let found = fs::read(directory.path().join("file")).unwrap();
        let end = at as usize + 37;
        assert!(
            found[..end]
                .chunks(37)
                .zip(0_u8..)
                .all(|(part, round)| { part.iter().all(|&byte| byte == b'a' + round % 26) })
        );
        assert!(found[end..end.next_multiple_of(BLOCK_BYTES)].iter().all(|&byte| byte == 0));
        assert!(found[end.next_multiple_of(BLOCK_BYTES)..].iter().all(|&byte| byte == b'o'));
    }
}

#[test]
fn the_rest_of_the_last_block_is_remembered_and_read_again_when_it_may_have_changed() {
    let Some((_directory, disk)) = direct_disk() else { return };
    let mut file = disk.open_file("file", true).unwrap();
    let last_block = |file: &RealFile| file.direct.get().and_then(|direct| direct.as_ref()?.last.start);
    file.append_at(b"first", 0, 0).unwrap();
    assert_eq!(last_block(&file), Some(0));
    file.append_at(&[b'x'; BLOCK_BYTES], 1 << 20, 5).unwrap();
    assert_eq!(last_block(&file), Some(BLOCK_BYTES as u64), "the zeros ahead are not what comes next");
    file.write_at(b"FIRST", BLOCK_BYTES as u64).unwrap();
    assert_eq!(last_block(&file), None);
    file.append_at(b"second", 0, BLOCK_BYTES as u64 + 5).unwrap();
    let mut found = [0; 12];
    file.read_at(&mut found, BLOCK_BYTES as u64).unwrap();
    assert_eq!(&found, b"FIRSTsecond\0");

    // Of a block that begins where an append ends nothing is known.
    file.write_at(b"other", 8 * BLOCK_BYTES as u64).unwrap();
    file.append_at(&[b'x'; BLOCK_BYTES], 0, 7 * BLOCK_BYTES as u64).unwrap();
    file.append_at(b"third", 0, 8 * BLOCK_BYTES as u64 + 5).unwrap();
    file.read_at(&mut found, 8 * BLOCK_BYTES as u64).unwrap();
    assert_eq!(&found, b"otherthird\0\0");
}

#[test]
fn a_file_that_is_called_otherwise_by_now_is_appended_to_and_nobody_elses_is() {
    let directory = TempDir::new().unwrap();
    let disk = RealDisk::new(directory.path());
    let mut file = disk.open_file("old", true).unwrap();
    disk.rename("old", "new").unwrap();
    disk.open_file("old", true).unwrap().write_at(b"another", 0).unwrap();
    file.append_at(b"bytes", 3, 0).unwrap();
    assert_eq!(fs::read(directory.path().join("new")).unwrap(), b"bytes\0\0\0");
    assert_eq!(fs::read(directory.path().join("old")).unwrap(), b"another");
}

/// A file that is written directly to `path`, and as usual to a file of its own.
fn with_direct_way(directory: &TempDir, path: &str) -> RealFile {
    let disk = RealDisk::new(directory.path());
    let mut file = disk.open_file("file", true).unwrap();
    let way = OpenOptions::new().write(true).open(path).unwrap();
    file.direct = Some(DirectFile::new(Arc::clone(&disk.direct_writes), way)).into();
    file
}

#[test]
fn when_the_first_direct_write_is_refused_nothing_is_lost() {
    let directory = TempDir::new().unwrap();
    // What is not a number is refused there with `EINVAL`.
    let mut file = with_direct_way(&directory, "/proc/self/oom_score_adj");
    file.append_at(b"first", 2, 0).unwrap();
    assert!(matches!(file.direct.get(), Some(None)), "not tried again");
    assert!(file.direct_writes.are_refused.load(Ordering::Relaxed), "nor for other files");
    file.append_at(b"second", 0, 5).unwrap();
    assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"firstsecond");
}

#[test]
fn any_other_error_is_told_and_nothing_is_tried_instead() {
    let directory = TempDir::new().unwrap();
    let mut file = with_direct_way(&directory, "/dev/full");
    let error = file.append_at(b"bytes", 0, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 0);

    // Nor if the file system refuses what it took before.
    let mut file = with_direct_way(&directory, "/proc/self/oom_score_adj");
    file.direct.get_mut().unwrap().as_mut().unwrap().is_proven = true;
    assert_eq!(file.append_at(b"bytes", 0, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(file.size().unwrap(), 0);
}

/// A file that answers as it was told to before it takes everything.
#[derive(Default)]
struct Reluctant {
    answers: RefCell<VecDeque<Result<usize, ErrorKind>>>,
    bytes: RefCell<Vec<u8>>,
    is_aligned: Cell<bool>,
}

impl Reluctant {
    fn answering(answers: impl IntoIterator<Item = Result<usize, ErrorKind>>) -> Self {
        let answers = RefCell::new(answers.into_iter().collect());
        Self { answers, is_aligned: Cell::new(true), ..Self::default() }
    }
}

impl FileExt for Reluctant {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let taken = self.answers.borrow_mut().pop_front().unwrap_or(Ok(buffer.len()))?;
        let bytes = self.bytes.borrow();
        let there = bytes.get(offset as usize..).unwrap_or_default();
        let count = taken.min(there.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let aligned = [buffer.as_ptr() as usize, buffer.len(), offset as usize];
        let is_aligned = aligned.iter().all(|place| place.is_multiple_of(BLOCK_BYTES));
        self.is_aligned.set(self.is_aligned.get() && is_aligned);
        let count = self.answers.borrow_mut().pop_front().unwrap_or(Ok(buffer.len()))?;
        let mut bytes = self.bytes.borrow_mut();
        let end = offset as usize + count;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(&buffer[..count]);
        Ok(count)
    }
}

#[test]
fn what_is_cut_short_or_interrupted_goes_on_where_a_block_begins() {
    let answers = [Err(ErrorKind::Interrupted), Ok(BLOCK_BYTES), Ok(2 * BLOCK_BYTES + 100)];
    let file = Reluctant::answering(answers.into_iter().chain([Err(ErrorKind::Interrupted)]));
    let mut buffer = AlignedBuffer::default();
    let blocks = buffer.get(5 * BLOCK_BYTES);
    blocks.chunks_mut(BLOCK_BYTES).zip(1..).for_each(|(block, number)| block.fill(number));
    write_blocks(&file, blocks, BLOCK_BYTES as u64).unwrap();
    assert_eq!(file.bytes.borrow()[BLOCK_BYTES..], *blocks);
    assert!(file.is_aligned.get());
    assert!(file.answers.borrow().is_empty());
}

#[test]
fn a_write_that_does_not_get_on_ends() {
    for taken in [0, BLOCK_BYTES - 1] {
        let file = Reluctant::answering([Ok(taken)]);
        let error = write_blocks(&file, AlignedBuffer::default().get(BLOCK_BYTES), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    }
    let file = Reluctant::answering([Ok(BLOCK_BYTES), Err(ErrorKind::StorageFull)]);
    let error = write_blocks(&file, AlignedBuffer::default().get(2 * BLOCK_BYTES), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_block_is_read_in_parts_and_ends_with_zeros_where_the_file_ends() {
    let file = Reluctant::answering([Err(ErrorKind::Interrupted), Ok(10), Ok(20)]);
    file.bytes.replace(vec![b'x'; 100]);
    let mut block = [b'o'; BLOCK_BYTES];
    read_block(&file, &mut block, 0).unwrap();
    assert!(block[..100].iter().all(|&byte| byte == b'x') && block[100..].iter().all(|&byte| byte == 0));
    file.answers.replace([Err(ErrorKind::Other)].into());
    read_block(&file, &mut block, 0).unwrap_err();
}

#[test]
fn the_buffer_is_aligned_and_bounded() {
    let Some((_directory, disk)) = direct_disk() else { return };
    let mut file = disk.open_file("file", true).unwrap();
    for bytes in [1, 5_000, 9 << 20, 5_000] {
        file.append_at(&vec![7; bytes], 3 << 20, 0).unwrap();
        let mut buffer = disk.direct_writes.buffer();
        assert!(buffer.get(1).as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        assert!(buffer.memory.len() <= PIECE_BYTES_MAX + BLOCK_BYTES, "{}", buffer.memory.len());
    }
}
