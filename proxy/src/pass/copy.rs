//! Bytes of one passed connection, both ways, until both ends are done, one breaks off, or nothing moves any more.
//!
//! An idle connection holds no buffer: a thread has one for all of its connections, from which what was read is
//! written on before anybody else's turn. Only what the far side does not take at once is kept, at most [`BUFFER`]
//! bytes each way, and nothing more is read until it is gone. The end of one side's bytes is passed on as such, and the
//! other direction goes on. What has moved much in one direction is spliced there ([`super::splice`]).

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::splice::{After, Pipes};

/// The most bytes read at once, and kept for a side that does not take them: one TLS record.
const BUFFER: usize = 16 * 1024;

/// In how many looks the idle limit is divided: a connection ends at most a quarter later than it should.
const LOOKS: u32 = 4;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Bytes in one direction from which on it is worth a pipe.
const MUCH: u64 = 256 * 1024;

/// One half of a connection; a socket, unless a test has something else.
pub(super) trait Half {
    /// The socket.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Half for ReadHalf<'_> {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl Half for WriteHalf<'_> {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

/// How the passing of bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Each side said that it has no more.
    Done,
    /// The client broke off.
    Client,
    /// The master broke off.
    Master,
    /// Nothing moved in either direction for as long as that may be.
    Idle,
}

/// What has moved so far, read by whoever counts.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// From the client to the master.
    pub up: AtomicU64,
    /// From the master to the client.
    pub down: AtomicU64,
}

/// Which side broke off.
pub(super) enum Broken {
    /// That which sends.
    From,
    /// That which takes.
    To,
}

/// What one turn came to.
enum Turn {
    Moved,
    /// The far side took no more than it has; this is left.
    Left(Vec<u8>),
    End,
}

/// Passes bytes until it is over. `pipes` are for what is spliced; `count` is told of bytes as they go, up and down.
pub(super) async fn both_ways<C, M>(
    client: (impl AsyncRead + Half + Unpin, C),
    master: (impl AsyncRead + Half + Unpin, M),
    idle: Duration,
    pipes: &Pipes<'_>,
    moved: &Moved,
    count: impl Fn(u64, u64) + Sync,
) -> Ended
where
    C: AsyncWrite + Half + Unpin,
    M: AsyncWrite + Half + Unpin,
{
    let up = one_way(client.0, master.1, pipes, |bytes| {
        moved.up.fetch_add(bytes, Relaxed);
        count(bytes, 0);
    });
    let down = one_way(master.0, client.1, pipes, |bytes| {
        moved.down.fetch_add(bytes, Relaxed);
        count(0, bytes);
    });
    let both = async {
        tokio::try_join!(async { last_words(up.await, Ended::Client, Ended::Master) }, async {
            last_words(down.await, Ended::Master, Ended::Client)
        },)
    };
    tokio::select! {
        ended = both => match ended {
            Ok((up, down)) => up.or(down).unwrap_or(Ended::Done),
            Err(broken) => broken,
        },
        () = idle_for(idle, moved) => Ended::Idle,
    }
}

/// A side that takes no more may have said why just before, in an alert: the other direction goes on until that has
/// been read. One that breaks off while it is read has said everything.
fn last_words(ended: Result<(), Broken>, from: Ended, to: Ended) -> Result<Option<Ended>, Ended> {
    match ended {
        Ok(()) => Ok(None),
        Err(Broken::To) => Ok(Some(to)),
        Err(Broken::From) => Err(from),
    }
}

/// Waits until nothing has moved for so long.
async fn idle_for(idle: Duration, moved: &Moved) {
    let all = || moved.up.load(Relaxed).wrapping_add(moved.down.load(Relaxed));
    let (mut before, mut quiet) = (all(), 0);
    while quiet < LOOKS {
        tokio::time::sleep(idle / LOOKS).await;
        let now = all();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

async fn one_way(
    mut from: impl AsyncRead + Half + Unpin,
    mut to: impl AsyncWrite + Half + Unpin,
    pipes: &Pipes<'_>,
    moved: impl Fn(u64),
) -> Result<(), Broken> {
    let lately = AtomicU64::new(0);
    let moved = |bytes| {
        lately.fetch_add(bytes, Relaxed);
        moved(bytes);
    };
    loop {
        if lately.load(Relaxed) >= MUCH {
            lately.store(0, Relaxed);
            if let (Some(from), Some(to), Some(pipe)) = (from.socket(), to.socket(), pipes.take()) {
                match pipe.splice(from, to, &moved).await? {
                    After::End => break,
                    After::Quiet => {}
                }
            }
        }
        match turn(&mut from, &mut to, &moved).await? {
            Turn::Moved => {}
            Turn::Left(rest) => {
                to.write_all(&rest).await.map_err(|_| Broken::To)?;
                moved(rest.len() as u64);
            }
            Turn::End => break,
        }
    }
    match to.shutdown().await {
        Ok(()) => Ok(()),
        // It is gone already: whether that is an end or a break is told by its own bytes.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        Err(_) => Err(Broken::To),
    }
}

/// Reads once and writes as much of it as the far side takes now.
async fn turn(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &impl Fn(u64),
) -> Result<Turn, Broken> {
    poll_fn(|cx| {
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut read)).map_err(|_| Broken::From)?;
            let mut left = read.filled();
            if left.is_empty() {
                return Poll::Ready(Ok(Turn::End));
            }
            while !left.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, left) {
                    Poll::Ready(Ok(written @ 1..)) => {
                        moved(written as u64);
                        left = left.get(written..).unwrap_or_default();
                    }
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::To)),
                    Poll::Pending => return Poll::Ready(Ok(Turn::Left(left.to_vec()))),
                }
            }
            Poll::Ready(Ok(Turn::Moved))
        })
    })
    .await
}
