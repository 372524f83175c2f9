//! The operating system's file system.

use std::cell::OnceCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::closer::{Closer, give_up};
use super::{Disk, DiskFile};

mod direct;

use direct::{DirectFile, DirectWrites};

/// Files are readable by their owner only: they hold everything that clients store.
const FILE_MODE: u32 = 0o600;

/// A directory of the real file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    closer: Closer,
    direct_writes: Arc<DirectWrites>,
}

/// A removed file that has so many bytes is given up where nobody waits.
const LARGE_BYTES: u64 = 1 << 20;

impl RealDisk {
    /// The tree below `root`, which must exist ([`DirectoryLock::acquire`](crate::DirectoryLock::acquire)
    /// makes it).
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), closer: Closer::default(), direct_writes: Arc::default() }
    }

    /// Where the tree is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn open_file(&self, name: &str, create: bool) -> io::Result<RealFile> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(FILE_MODE);
        let file = options.open(&path)?;
        let direct_writes = Arc::clone(&self.direct_writes);
        Ok(RealFile { file, path, direct_writes, direct: OnceCell::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        // `join("")` would add a slash at the end, which error messages of the system then show.
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Disk for RealDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_file(name, create)?))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    /// Takes the file's name away, which is quick as long as it is open.
    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        let opened = OpenOptions::new().write(true).open(&path);
        fs::remove_file(path)?;
        if let Ok(file) = opened
            && let Ok(metadata) = file.metadata()
            // It may have another name, as a backup.
            && metadata.nlink() == 0
            && metadata.len() >= LARGE_BYTES
        {
            self.closer.later(move || give_up(&file, metadata.len()));
        }
        Ok(())
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// By what name it was opened.
    path: PathBuf,
    direct_writes: Arc<DirectWrites>,
    /// How it is appended to: not known before the first time; `None` if by ordinary writes.
    direct: OnceCell<Option<DirectFile>>,
}

impl RealFile {
    /// Something else than an append changes the file.
    fn forget_last_block(&mut self) {
        if let Some(Some(direct)) = self.direct.get_mut() {
            direct.forget_last_block();
        }
    }

    fn append_by_ordinary_writes(&self, bytes: &[u8], zeros: usize, offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        let (mut end, mut left) = (offset + bytes.len() as u64, zeros);
        while left > 0 {
            let count = left.min(ZEROS.len());
            self.file.write_all_at(&ZEROS[..count], end)?;
            end += count as u64;
            left -= count;
        }
        Ok(())
    }
}

/// What is filled with, a piece at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.forget_last_block();
        self.file.write_all_at(bytes, offset)
    }

    fn append_at(&mut self, bytes: &[u8], zeros: usize, offset: u64) -> io::Result<()> {
        self.direct.get_or_init(|| self.direct_writes.open(&self.path, &self.file));
        if let Some(Some(direct)) = self.direct.get_mut() {
            if direct.append(&self.file, bytes, zeros, offset)? {
                return Ok(());
            }
            self.direct = OnceCell::from(None);
        }
        self.append_by_ordinary_writes(bytes, zeros, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.forget_last_block();
        self.file.set_len(bytes)
    }
}

// Linux tells what is open in /proc.
#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;

    use tempfile::TempDir;

    use super::*;

    /// Files in a directory that are open and have no name any more.
    fn open_without_name(directory: &TempDir) -> usize {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let paths = open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        paths.filter(|path| path.starts_with(directory.path())).count()
    }

    #[test]
    fn a_large_file_is_gone_at_once_and_given_up_by_somebody_else() {
        let directory = TempDir::new().unwrap();
        let disk = RealDisk::new(directory.path());
        let (opener, gate) = channel::<()>();
        disk.closer.later(move || gate.recv().unwrap_or_default());
        for (name, bytes, left_open) in [("small", LARGE_BYTES - 1, 0), ("large", 5 * LARGE_BYTES / 2, 1)] {
            let mut file = disk.open(name, true).unwrap();
            file.set_size(bytes).unwrap();
            drop(file);
            disk.remove(name).unwrap();
            assert_eq!(disk.list("").unwrap(), [""; 0], "{name}");
            assert_eq!(open_without_name(&directory), left_open, "{name}");
        }
        drop(opener);
        while open_without_name(&directory) > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_large_file_is_given_up_before_it_is_closed() {
        let directory = TempDir::new().unwrap();
        let disk = RealDisk::new(directory.path());
        let mut file = disk.open("large", true).unwrap();
        file.set_size(5 * LARGE_BYTES / 2).unwrap();
        disk.remove("large").unwrap();
        while file.size().unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_has_another_name_stays_whole() {
        let directory = TempDir::new().unwrap();
        let disk = RealDisk::new(directory.path());
        disk.open("large", true).unwrap().set_size(2 * LARGE_BYTES).unwrap();
        fs::hard_link(directory.path().join("large"), directory.path().join("backup")).unwrap();
        disk.remove("large").unwrap();
        let (done, is_done) = channel();
        disk.closer.later(move || done.send(()).unwrap());
        is_done.recv().unwrap();
        assert_eq!(disk.open("backup", false).unwrap().size().unwrap(), 2 * LARGE_BYTES);
    }

    #[test]
    fn what_is_not_there_can_not_be_removed() {
        let directory = TempDir::new().unwrap();
        let error = RealDisk::new(directory.path()).remove("absent").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
