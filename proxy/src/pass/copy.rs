//! Bytes of one passed connection, both ways, until both ends are done, one breaks off, or nothing moves any more.
//!
//! An idle connection holds no buffer: a thread has one for all of its connections, from which what was read is
//! written on before anybody else's turn. Only what the far side does not take at once is kept, at most [`BUFFER`]
//! bytes each way, and nothing more is read until it is gone. The end of one side's bytes is passed on as such, and the
//! other direction goes on. What has moved much in one direction is spliced there ([`super::splice`]).

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::sync::Arc;

    use tokio::io::{self, AsyncReadExt, DuplexStream, duplex, split};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    impl Half for io::ReadHalf<DuplexStream> {
        fn socket(&self) -> Option<&TcpStream> {
            None
        }
    }

    impl Half for io::WriteHalf<DuplexStream> {
        fn socket(&self) -> Option<&TcpStream> {
            None
        }
    }

    /// So many pipes, and places for as many connections.
    fn semaphores(pipes: usize, connections: usize) -> (Arc<Semaphore>, Arc<Semaphore>) {
        (Arc::new(Semaphore::new(pipes)), Arc::new(Semaphore::new(connections)))
    }

    const QUARTER: Duration = Duration::from_secs(15 * 60);

    /// Two ends, and what passes bytes between them.
    fn passing(room: usize) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<(Ended, u64, u64)>) {
        let ((client, ours), (theirs, master)) = (duplex(room), duplex(room));
        let task = tokio::spawn(async move {
            let moved = Moved::default();
            let (pipes, connections) = semaphores(0, 0);
            let pipes = Pipes { pipes: &pipes, connections: &connections, spare: 0 };
            let ended = both_ways(split(ours), split(theirs), QUARTER, &pipes, &moved, |_, _| {}).await;
            (ended, moved.up.into_inner(), moved.down.into_inner())
        });
        (client, master, task)
    }

    async fn rest(mut of: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut all = Vec::new();
        of.read_to_end(&mut all).await.expect("it ends");
        all
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
        let (mut client, mut master, task) = passing(64);
        client.write_all(b"question").await.expect("open");
        client.shutdown().await.expect("open");
        assert_eq!(rest(&mut master).await, b"question");
        tokio::time::sleep(QUARTER / 2).await;
        master.write_all(b"answer").await.expect("the other way is open");
        drop(master);
        assert_eq!(rest(&mut client).await, b"answer");
        assert_eq!(task.await.expect("no panic"), (Ended::Done, 8, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_master_says_before_it_breaks_off_reaches_a_client_that_is_still_talking() {
        let (mut client, mut master, task) = passing(64);
        client.write_all(b"a request that is not taken").await.expect("open");
        master.write_all(b"an alert").await.expect("open");
        drop(master);
        assert_eq!(rest(&mut client).await, b"an alert");
        assert_eq!(task.await.expect("no panic"), (Ended::Master, 0, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_in_either_direction_keeps_both_open_and_silence_ends_them() {
        let (mut client, mut master, task) = passing(64);
        let began = tokio::time::Instant::now();
        for _ in 0..4 {
            tokio::time::sleep(QUARTER * 9 / 10).await;
            master.write_all(b"p").await.expect("open");
            client.read_u8().await.expect("a ping");
        }
        let spoke = tokio::time::Instant::now();
        assert!(spoke - began > QUARTER * 3);
        assert_eq!(task.await.expect("no panic").0, Ended::Idle);
        let waited = spoke.elapsed();
        assert!((QUARTER..=QUARTER * 5 / 4).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_does_not_read_holds_up_its_own_connection_and_ends_as_idle() {
        let (mut client, master, task) = passing(1024);
        let all = vec![7; 100_000];
        let sent = tokio::time::timeout(QUARTER / 8, client.write_all(&all)).await;
        assert!(sent.is_err(), "nobody reads, so nothing more is taken");
        assert_eq!(task.await.expect("no panic").0, Ended::Idle);
        drop(master);
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        (near, listener.accept().await.expect("it was connected to").0)
    }

    #[tokio::test]
    async fn much_is_spliced_as_it_is_and_pipes_are_given_back() {
        for (pipes, connections) in [(2, 4), (1, 4), (2, 1), (0, 4)] {
            let ((mut client, mut ours), (mut theirs, mut master)) = (sockets().await, sockets().await);
            let all: Arc<Vec<u8>> =
                Arc::new((0..5_000_000_u32).map(|n| (n.wrapping_mul(97) >> 5) as u8).collect());
            let (pipes, connections) = semaphores(pipes, connections);
            let before = (pipes.available_permits(), connections.available_permits());
            let sent = Arc::clone(&all);
            let sending = tokio::spawn(async move {
                for piece in sent.chunks(1_000_000) {
                    client.write_all(piece).await.expect("open");
                }
                client.shutdown().await.expect("open");
                client
            });
            let hearing = tokio::spawn(async move {
                let mut heard = Vec::new();
                master.read_to_end(&mut heard).await.expect("open");
                master.write_all(&heard).await.expect("the other way is open");
                heard
            });
            let back = tokio::spawn(async move {
                let mut client = sending.await.expect("no panic");
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).await.expect("open");
                heard
            });
            let moved = Moved::default();
            let ended = {
                let pipes = Pipes { pipes: &pipes, connections: &connections, spare: 0 };
                both_ways(ours.split(), theirs.split(), QUARTER, &pipes, &moved, |_, _| {}).await
            };
            assert_eq!(ended, Ended::Done);
            drop((ours, theirs));
            assert!(hearing.await.expect("no panic") == *all && back.await.expect("no panic") == *all);
            assert_eq!((moved.up.into_inner(), moved.down.into_inner()), (5_000_000, 5_000_000));
            assert_eq!((pipes.available_permits(), connections.available_permits()), before);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn bytes_arrive_as_they_were_sent_whatever_the_room_on_the_way(
            room in 1_usize..40_000,
            up in proptest::collection::vec(any::<u8>(), 0..70_000),
            down in proptest::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let (client, master, task) = passing(room);
                let says = |end: DuplexStream, bytes: Vec<u8>| async move {
                    let (read, mut write) = split(end);
                    let send = async move {
                        write.write_all(&bytes).await.expect("open");
                        write.shutdown().await.expect("open");
                    };
                    tokio::join!(send, rest(read)).1
                };
                let (at_client, at_master) = tokio::join!(says(client, up.clone()), says(master, down.clone()));
                prop_assert!(at_client == down && at_master == up);
                let told = (Ended::Done, up.len() as u64, down.len() as u64);
                prop_assert_eq!(task.await.expect("no panic"), told);
                Ok(())
            })?;
        }
    }
}
