//! Stand-in masters: real TLS, so many JRubies, and work that is waiting.
//!
//! A master reads a whole request, then waits for a JRuby in the order of arrival; nothing leaves that queue, as nothing
//! leaves Puppet Server's. It has two ports before the same JRubies: a sealed one for whoever ends agents' TLS, and an open
//! one for who passes connections on. Certificates are verified as everywhere; what an agent may ask is not looked at.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use harness::http1::Head;
use harness::listening::{Listening, ServerConn};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::site::Site;
use crate::JRUBIES;

/// The header by which an agent says for how many microseconds its request holds a JRuby.
pub(crate) const WORK: &str = "X-Storm-Work";

static CATALOG: LazyLock<Bytes> = LazyLock::new(|| answer("application/json", &[b'c'; 100_000]));
static SMALL: LazyLock<Bytes> = LazyLock::new(|| answer("application/json", &[b's'; 500]));

/// One compile master.
pub(crate) struct Master {
    /// Its certname.
    pub name: String,
    sealed: Listening,
    open: Listening,
}

impl Master {
    /// Starts one that takes so many times as long as a usual one.
    pub(crate) fn start(site: &Site, number: usize, slower: f64) -> Self {
        let name = Self::certname(number);
        let (sealed, open) = site.master(&name);
        let jrubies = Arc::new(Jrubies {
            free: Semaphore::new(usize::from(JRUBIES)),
            slower,
            overslept: Mutex::default(),
        });
        let listen = |tls| {
            let jrubies = Arc::clone(&jrubies);
            let serve = move |conn, _| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                let jrubies = Arc::clone(&jrubies);
                Box::pin(async move {
                    // How a connection ended shows at its other end.
                    serve(conn, &jrubies).await.ok();
                })
            };
            Listening::start(tls, Arc::new(serve))
        };
        Self { name, sealed: listen(sealed), open: listen(open) }
    }

    /// The certname of the one with this number.
    pub(crate) fn certname(number: usize) -> String {
        format!("m{}.example.com", number + 1)
    }

    /// Where doors come in.
    pub(crate) fn sealed(&self) -> SocketAddr {
        self.sealed.address()
    }

    /// Where agents come in.
    pub(crate) fn open(&self) -> SocketAddr {
        self.open.address()
    }

    /// Nobody listens any more, every connection is cut, and whatever was at work or waiting is gone.
    pub(crate) async fn kill(&self) {
        self.sealed.kill().await;
        self.open.kill().await;
    }

    /// Listens again.
    pub(crate) fn come_back(&self) {
        self.sealed.restart(None);
        self.open.restart(None);
    }
}

struct Jrubies {
    free: Semaphore,
    slower: f64,
    /// A timer wakes late by a millisecond, and a small request takes six. What a JRuby slept too long
    /// is taken off the next request, so that a master can do in a minute what its JRubies can.
    overslept: Mutex<Duration>,
}

impl Jrubies {
    async fn work(&self, takes: Duration) {
        // Never closed.
        let Ok(_jruby) = self.free.acquire().await else { return };
        let takes = takes.mul_f64(self.slower);
        let slept = {
            let mut owed = self.overslept.lock().unwrap_or_else(PoisonError::into_inner);
            let slept = takes.min(*owed);
            *owed -= slept;
            slept
        };
        let begin = Instant::now();
        tokio::time::sleep(takes - slept).await;
        let too_long = (begin.elapsed() + slept).saturating_sub(takes);
        *self.overslept.lock().unwrap_or_else(PoisonError::into_inner) += too_long;
    }
}

async fn serve(mut conn: ServerConn, jrubies: &Jrubies) -> io::Result<()> {
    while let Some(head) = conn.head().await? {
        conn.body(head.request_framing(), &mut |_| {}).await?;
        match head.path() {
            path if path.starts_with("/status/v1/simple") => {
                conn.write(&answer("text/plain", b"running")).await?;
            }
            "/status/v1/services/jruby-metrics" => {
                let gauges = gauges(jrubies.free.available_permits());
                conn.write(&answer("application/json", gauges.as_bytes())).await?;
            }
            path => {
                let Some(takes) = work(&head) else {
                    // Whoever does not say what it costs wants to see what a balancer makes of a request.
                    conn.write(&answer("text/plain", &head.raw)).await?;
                    continue;
                };
                jrubies.work(takes).await;
                let answer = if path.starts_with("/puppet/v3/catalog/") { &CATALOG } else { &SMALL };
                conn.write(answer).await?;
            }
        }
    }
    Ok(())
}

fn work(head: &Head) -> Option<Duration> {
    head.get(WORK)?.parse().ok().map(Duration::from_micros)
}

fn gauges(free: usize) -> String {
    format!(
        r#"{{"status":{{"experimental":{{"jruby-pool-lock-status":{{"current-state":":not-in-use"}},"metrics":{{"num-jrubies":{JRUBIES},"num-free-jrubies":{free}}}}}}}}}"#
    )
}

fn answer(content_type: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: {content_type}\r\n\
         X-Puppet-Version: 8.10.0\r\nContent-Length: {}\r\nServer: Jetty(10.0.20)\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}
