//! A connection passed to an open master, byte for byte.
//!
//! What was read of it is sent on first, behind a PROXY header where that is wanted. Nothing was sent while a master is
//! only being connected to, so another is tried when that fails. From then on the door counts, ends what is idle, and
//! does nothing else: a passed connection is between the client and the master, with the client's certificate judged
//! there.

mod copy;
mod splice;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use socket2::SockRef;
use stagedoor_config::proxy::{Bounds, ProxyVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::door::Door;
use crate::front::Front;
use crate::hello::First;
use crate::link::ALIVE;
use crate::observe::log::chain;
use crate::observe::meter::Held as Counted;
use crate::observe::passed::{PassOutcome, Passed};
use crate::pool::{InHand, Pool};
use crate::proxy_protocol;
use crate::way::Why;
use copy::{Ended, Moved, both_ways};
pub(crate) use splice::PIPES;
use splice::Pipes;

/// Where connections go that are passed from one address.
pub(crate) struct Passage<'a> {
    /// The open masters, or the backends.
    pub behind: &'a Arc<Pool>,
    /// The header in front.
    pub send_proxy: Option<ProxyVersion>,
    /// Why this connection is passed.
    pub why: Why,
    /// Its place among those that may be passed; none when there is none.
    pub place: Option<OwnedSemaphorePermit>,
}

/// Passes a connection from its first bytes to its last.
pub(crate) async fn pass(door: &Arc<Door>, passage: Passage<'_>, front: Front) {
    let bounds = door.snapshot.load().settings.bounds;
    let addresses = front.addresses;
    let offered = match front.first() {
        First::Hello(hello) | First::TooOld(hello) => Some(hello.highest),
        _ => None,
    };
    let mut line = Line::begin(door, passage.why, addresses.source, offered);
    if passage.place.is_none() {
        line.passed.outcome = PassOutcome::Full;
        return;
    }
    let (mut client, first) = front.into_parts();
    let Some((mut master, in_hand)) = connect(&passage, &bounds, &mut line).await else { return };
    // Both may be silent for minutes, and either's host may vanish meanwhile.
    drop(SockRef::from(&client).set_tcp_keepalive(&ALIVE));
    let ended = match greet(&mut master, &passage, addresses, first, &mut line, bounds.connect_time).await {
        Err(ended) => ended,
        Ok(()) => {
            let (client, master) = (client.split(), master.split());
            let Line { moved, metrics, .. } = &line;
            let of_all = &metrics.passed_bytes;
            let of_master = &in_hand.member.metrics.passed_bytes;
            let pipes = Pipes {
                pipes: &door.pipes,
                connections: &door.connections,
                // Where half of all are open, places are for those who come.
                spare: bounds.connections / 2,
            };
            both_ways(client, master, bounds.pass_idle, &pipes, moved, |up, down| {
                of_all.add(up, down);
                of_master.add(up, down);
            })
            .await
        }
    };
    line.passed.outcome = match ended {
        Ended::Done => PassOutcome::Done,
        Ended::Client => PassOutcome::ClientBroke,
        Ended::Master => PassOutcome::MasterBroke,
        Ended::Idle => PassOutcome::Idle,
    };
}

/// A connection to the master that is to have it, or to another where that one cannot be reached.
async fn connect(passage: &Passage<'_>, bounds: &Bounds, line: &mut Line) -> Option<(TcpStream, InHand)> {
    let began = Instant::now();
    let mut tried = Vec::new();
    line.passed.outcome = PassOutcome::Nobody;
    while line.passed.attempts < bounds.attempts {
        let in_hand = passage.behind.pass(line.passed.peer.ip(), &tried)?;
        let member = &in_hand.member;
        line.passed.attempts += 1;
        line.passed.master = Some(Arc::clone(&member.metrics));
        match member.peer.connect_bare(bounds.connect_time).await {
            Ok(master) => {
                line.passed.connect = Some(began.elapsed());
                line.passed.outcome = PassOutcome::Stopped;
                return Some((master, in_hand));
            }
            Err(error) => {
                tracing::debug!(master = %member.peer.certname, error = chain(&error), "cannot connect");
                line.passed.outcome = PassOutcome::Unreachable;
                tried.push(member.id);
            }
        }
    }
    None
}

/// Sends what comes before the client's further bytes.
async fn greet(
    master: &mut TcpStream,
    passage: &Passage<'_>,
    addresses: proxy_protocol::Addresses,
    first: Bytes,
    line: &mut Line,
    patience: Duration,
) -> Result<(), Ended> {
    let header = passage.send_proxy.map(|version| {
        let mut header = Vec::with_capacity(256);
        proxy_protocol::append(&mut header, version, addresses);
        header
    });
    let sending = async {
        match header {
            None => master.write_all(&first).await,
            // In one piece, so that nobody has to wait for the rest.
            Some(header) => master.write_all(&[&header, &first[..]].concat()).await,
        }
    };
    match tokio::time::timeout(patience, sending).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(Ended::Master),
    }
    let length = first.len() as u64;
    line.moved.up.fetch_add(length, Relaxed);
    line.metrics.passed_bytes.add(length, 0);
    if let Some(master) = &line.passed.master {
        master.passed_bytes.add(length, 0);
    }
    Ok(())
}

/// What is known of it, given away when it is over, however it is: also when the door ends under it.
struct Line {
    door: Arc<Door>,
    metrics: Arc<crate::observe::metrics::Metrics>,
    began: Instant,
    moved: Moved,
    passed: Passed,
    _open: Counted<crate::observe::metrics::Metrics>,
}

impl Line {
    fn begin(door: &Arc<Door>, why: Why, peer: std::net::SocketAddr, offered: Option<u16>) -> Self {
        let metrics = Arc::clone(door.observe.metrics());
        let passed = Passed {
            began: SystemTime::now(),
            peer,
            why,
            offered,
            master: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            connect: None,
            total: Duration::ZERO,
            outcome: PassOutcome::Stopped,
        };
        Self {
            door: Arc::clone(door),
            began: Instant::now(),
            moved: Moved::default(),
            passed,
            _open: Counted::one(&metrics, |metrics| &metrics.passed_open),
            metrics,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut passed = self.passed.clone();
        passed.bytes_in = self.moved.up.load(Relaxed);
        passed.bytes_out = self.moved.down.load(Relaxed);
        passed.total = self.began.elapsed();
        self.door.observe.passed(passed);
    }
}
