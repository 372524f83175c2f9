//! Waiting for a socket that another thread can cut short.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Wakes a thread that waits in [`Waker::wait`]. A wake that comes while nobody waits ends the next wait.
#[derive(Debug)]
pub(crate) struct Waker {
    near: UnixStream,
    far: UnixStream,
}

/// What a wait found the socket to be; nothing if a wake or the time ended it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// What to wait for besides the waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    ReadableOrWritable,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self { near, far })
    }

    /// Ends the present or the next wait.
    pub(crate) fn wake(&self) {
        // Fails only when so many wakes are waiting already that one more makes no difference.
        let _ = (&self.far).write(&[1]);
    }

    /// Waits for a wake for at most `timeout`.
    pub(crate) fn sleep(&self, timeout: Duration) -> io::Result<Readiness> {
        self.poll(&mut [PollFd::new(&self.near, PollFlags::IN)], timeout)
    }

    /// Waits for a wake or for `socket`, for at most `timeout`. Errors and hang-ups of the socket count as
    /// readable and writable: the next operation on it tells.
    pub(crate) fn wait(
        &self,
        socket: &impl AsFd,
        interest: Interest,
        timeout: Duration,
    ) -> io::Result<Readiness> {
        let flags = match interest {
            Interest::Readable => PollFlags::IN,
            Interest::ReadableOrWritable => PollFlags::IN | PollFlags::OUT,
        };
        self.poll(&mut [PollFd::new(&self.near, PollFlags::IN), PollFd::new(socket, flags)], timeout)
    }

    fn poll(&self, descriptors: &mut [PollFd<'_>], timeout: Duration) -> io::Result<Readiness> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(descriptors, Some(&left)) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let returned = |at: usize| descriptors.get(at).map_or(PollFlags::empty(), PollFd::revents);
        if !returned(0).is_empty() {
            self.drain();
        }
        let broken = returned(1).intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ok(Readiness {
            readable: broken || returned(1).contains(PollFlags::IN),
            writable: broken || returned(1).contains(PollFlags::OUT),
        })
    }

    fn drain(&self) {
        let mut sink = [0; 64];
        while matches!((&self.near).read(&mut sink), Ok(count) if count == sink.len()) {}
    }
}
