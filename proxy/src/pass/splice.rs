//! Bytes that the kernel moves from one socket to another, through a pipe.
//!
//! Where much moves in one direction this costs half the CPU time of copying, and a pipe for each small connection
//! would cost more than it saves (benches/README.md). A pipe is two files, as many as a connection may have: it takes
//! the place of one for as long as it is held, and only while there are places to spare, so that files never run out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::copy::Broken;

/// Pipes at once, over all connections: what moves much is seldom more, and Linux gives one user 1024 of 64 KiB.
pub(crate) const PIPES: usize = 64;

/// How long nothing may come before the pipe goes to others.
const QUIET: Duration = Duration::from_secs(1);

/// The most that is asked for at once; the pipe's own size is the bound.
const AT_ONCE: usize = 1 << 20;

/// Where pipes come from.
pub(super) struct Pipes<'a> {
    /// Pipes that may still be held.
    pub pipes: &'a Arc<Semaphore>,
    /// Connections that may still be opened.
    pub connections: &'a Arc<Semaphore>,
    /// How many of those are left alone.
    pub spare: usize,
}

/// A pipe, given back when dropped.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// Why splicing stopped; the pipe is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing more comes, ever.
    End,
    /// Nothing came for a while, or these sockets cannot be spliced.
    Quiet,
}

impl Pipes<'_> {
    /// A pipe, if one can be spared.
    pub(super) fn take(&self) -> Option<Pipe> {
        if self.connections.available_permits() <= self.spare {
            return None;
        }
        let one = Arc::clone(self.pipes).try_acquire_owned().ok()?;
        let place = Arc::clone(self.connections).try_acquire_owned().ok()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        Some(Pipe { read, write, _places: (one, place) })
    }
}

impl Pipe {
    /// Moves bytes until there are none for a while. `moved` is told of them as they go.
    pub(super) async fn splice(
        self,
        from: &TcpStream,
        to: &TcpStream,
        moved: &impl Fn(u64),
    ) -> Result<After, Broken> {
        const HOW: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
        loop {
            match tokio::time::timeout(QUIET, from.readable()).await {
                Err(_elapsed) => return Ok(After::Quiet),
                Ok(ready) => ready.map_err(|_| Broken::From)?,
            }
            let taken = from.try_io(Interest::READABLE, || {
                splice(from, None, &self.write, None, AT_ONCE, HOW).map_err(io::Error::from)
            });
            let mut held = match taken {
                Ok(0) => return Ok(After::End),
                Ok(taken) => taken,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::InvalidInput => return Ok(After::Quiet),
                    _ => return Err(Broken::From),
                },
            };
            while held > 0 {
                let given = to.try_io(Interest::WRITABLE, || {
                    splice(&self.read, None, to, None, held, HOW).map_err(io::Error::from)
                });
                match given {
                    Ok(given @ 1..) => {
                        held = held.saturating_sub(given);
                        moved(given as u64);
                    }
                    Ok(0) => return Err(Broken::To),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => to.writable().await.map_err(|_| Broken::To)?,
                        io::ErrorKind::Interrupted => {}
                        _ => return Err(Broken::To),
                    },
                }
            }
            // A stream that never waits must not keep its thread from the others'.
            tokio::task::coop::consume_budget().await;
        }
    }
}
