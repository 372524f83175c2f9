//! Waiting for a socket that another thread can cut short.

use std::io::{self, Read, Write};
use std::net::TcpStream;
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

/// How the system tells that the next operation on a socket will fail or end.
const BROKEN: PollFlags = PollFlags::ERR.union(PollFlags::HUP).union(PollFlags::NVAL);

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
    pub(crate) fn sleep(&self, timeout: Duration) -> io::Result<()> {
        self.poll(&mut [PollFd::new(&self.near, PollFlags::IN)], Some(timeout))?;
        Ok(())
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
        let mut descriptors = [PollFd::new(&self.near, PollFlags::IN), PollFd::new(socket, flags)];
        self.poll(&mut descriptors, Some(timeout))?;
        let [_, socket] = descriptors;
        let returned = socket.revents();
        Ok(Readiness {
            readable: returned.intersects(PollFlags::IN | BROKEN),
            writable: returned.intersects(PollFlags::OUT | BROKEN),
        })
    }

    /// Waits for a wake or until one of `sockets` has something to read, for at most `timeout` if there is one. Adds to `readable` whose
    /// have. Errors and hang-ups count, too.
    pub(crate) fn wait_for_any<'a, T>(
        &self,
        sockets: impl Iterator<Item = (T, &'a TcpStream)>,
        timeout: Option<Duration>,
        readable: &mut Vec<T>,
    ) -> io::Result<()> {
        let mut owners = Vec::new();
        let mut descriptors = vec![PollFd::new(&self.near, PollFlags::IN)];
        for (owner, socket) in sockets {
            owners.push(owner);
            descriptors.push(PollFd::new(socket, PollFlags::IN));
        }
        self.poll(&mut descriptors, timeout)?;
        let found = owners.into_iter().zip(&descriptors[1..]);
        readable.extend(found.filter(|(_, socket)| !socket.revents().is_empty()).map(|(owner, _)| owner));
        Ok(())
    }

    /// Waits, and takes the wakes that have come; the first descriptor is the waker's own.
    fn poll(&self, descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            match poll(descriptors, left.as_ref()) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !descriptors[0].revents().is_empty() {
            self.drain();
        }
        Ok(())
    }

    fn drain(&self) {
        let mut sink = [0; 64];
        while matches!((&self.near).read(&mut sink), Ok(count) if count == sink.len()) {}
    }
}
