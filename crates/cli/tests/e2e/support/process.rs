//! Running programs, none of them for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use super::wait::{PATIENCE, await_some};

/// The program under test.
pub(crate) fn ruvector(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ruvector"));
    command.env("RUVECTOR_HOME", home).env_remove("RUVECTOR_ENDPOINTS").env("NO_COLOR", "1").arg("consensus");
    command
}

/// What a program that has ended did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) line: String,
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command, input: &str) -> Ran {
    let line = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("can't run {line}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read its input may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let mut child = Background(child);
    let status = await_some(&format!("the end of {line}"), || child.0.try_wait().unwrap());
    Ran { line, code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn collect(mut source: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Ran {
    /// It did what it should: its output.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{} failed: {self:#?}", self.line);
        self.stdout
    }

    /// It failed as it should, with an exit code and one line that says all of `words`.
    #[track_caller]
    pub(crate) fn failed_saying(self, words: &[&str]) {
        assert!(self.code.is_some_and(|code| code != 0), "{self:#?}");
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        assert_eq!(errors.len(), 1, "{self:#?}");
        for word in words {
            assert!(errors[0].contains(word), "no `{word}`: {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// A program that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Background(Child);

impl Background {
    /// Starts it, and gives what it prints line by line.
    pub(crate) fn start(command: &mut Command) -> (Self, Lines) {
        let line = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("can't run {line}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = channel();
        thread::spawn(move || {
            // Ends with the program, or when nobody wants the lines any more.
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        (Self(child), Lines { line, receiver })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program in the background prints.
#[derive(Debug)]
pub(crate) struct Lines {
    line: String,
    receiver: Receiver<String>,
}

impl Lines {
    /// The next lines are these.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &[&str]) {
        for (at, expected) in expected.iter().enumerate() {
            match self.receiver.recv_timeout(PATIENCE) {
                Ok(line) => assert_eq!(line, **expected, "line {at} of {}", self.line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("`{expected}` never came from {}", self.line)
                }
            }
        }
    }
}
