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
