//! A log file of bounded size: when it is full it becomes the first of a few old ones, and the oldest of those goes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that would become larger, in bytes, is full.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Full files that are kept, `.1` the newest.
const OLD_FILES: u32 = 3;

/// The file that is being written. If standard error is the same file, it goes on in the new one, too: there a panic speaks.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    file_bytes_max: u64,
    is_stderr: bool,
}

impl LogFile {
    /// Goes on in the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let is_stderr = is_same_file(&file)?;
        Ok(Self { path: path.to_owned(), file, file_bytes_max: FILE_BYTES_MAX, is_stderr })
    }

    fn has_room(&self, bytes: usize) -> io::Result<bool> {
        // Asked of the system: others write to it as well.
        let length = self.file.metadata()?.len();
        Ok(length == 0 || length + bytes as u64 <= self.file_bytes_max)
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        for number in (1..OLD_FILES).rev() {
            // Most are not there at first.
            let _ = fs::rename(self.old(number), self.old(number + 1));
        }
        fs::rename(&self.path, self.old(1))?;
        self.file = append(&self.path)?;
        if self.is_stderr {
            rustix::stdio::dup2_stdout(&self.file)?;
            rustix::stdio::dup2_stderr(&self.file)?;
        }
        Ok(())
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_room(bytes.len())? && self.begin_anew().is_err() {
            // Old lines are worth less than room on the disk.
            self.file.set_len(0)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn is_same_file(file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    let Ok(theirs) = rustix::fs::fstat(rustix::stdio::stderr()) else { return Ok(false) };
    Ok(ours.dev() == theirs.st_dev && ours.ino() == theirs.st_ino)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE_BYTES: u64 = 1_000;

    fn log_in(directory: &Path) -> LogFile {
        LogFile { file_bytes_max: FILE_BYTES, ..LogFile::open(&directory.join("node.log")).unwrap() }
    }

    fn lines(log: &mut LogFile, numbers: std::ops::Range<u32>) {
        for number in numbers {
            log.write_all(format!("line {number:05}\n").as_bytes()).unwrap();
        }
    }

    fn sizes(directory: &Path) -> Vec<(String, u64)> {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        let mut sizes: Vec<_> = files
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .collect();
        sizes.sort();
        sizes
    }

    #[test]
    fn however_much_is_said_the_newest_is_kept_and_no_more_than_a_few_files() {
        let scratch = tempfile::tempdir().unwrap();
        let mut log = log_in(scratch.path());
        lines(&mut log, 0..5_000);
        let sizes = sizes(scratch.path());
        let names: Vec<&str> = sizes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["node.log", "node.log.1", "node.log.2", "node.log.3"]);
        assert!(sizes.iter().all(|(_, bytes)| *bytes <= FILE_BYTES), "{sizes:?}");

        let files = ["node.log.3", "node.log.2", "node.log.1", "node.log"];
        let text: String =
            files.iter().map(|name| fs::read_to_string(scratch.path().join(name)).unwrap()).collect();
        let numbers: Vec<u32> = text.lines().map(|line| line[5..].parse().unwrap()).collect();
        let first = numbers[0];
        assert_eq!(numbers, (first..5_000).collect::<Vec<_>>(), "a gap, or another order");
        assert!(numbers.len() > 200, "{}", numbers.len());
    }

    #[test]
    fn a_log_goes_on_where_the_last_process_ended() {
        let scratch = tempfile::tempdir().unwrap();
        lines(&mut log_in(scratch.path()), 0..10);
        lines(&mut log_in(scratch.path()), 10..20);
        let text = fs::read_to_string(scratch.path().join("node.log")).unwrap();
        assert_eq!(text.lines().count(), 20);
    }

    #[test]
    fn a_file_that_can_not_be_put_aside_is_bounded_too() {
        let scratch = tempfile::tempdir().unwrap();
        // No file can take the place of a directory that is not empty.
        fs::create_dir_all(scratch.path().join("node.log.1/in the way")).unwrap();
        fs::create_dir_all(scratch.path().join("node.log.2/in the way")).unwrap();
        fs::create_dir_all(scratch.path().join("node.log.3/in the way")).unwrap();
        let mut log = log_in(scratch.path());
        lines(&mut log, 0..500);
        assert!(sizes(scratch.path()).iter().all(|(_, bytes)| *bytes <= FILE_BYTES));
        assert!(fs::read_to_string(scratch.path().join("node.log")).unwrap().ends_with("line 00499\n"));
    }
}
