//! An agent and its run, as a Puppet 8 agent does it: one request after the other over a connection that it opens anew
//! where it did something else for too long.
//!
//! It repeats nothing by itself. An answer that says when to come back (503 or 429 with `Retry-After`) is heeded, over a new
//! connection; anything else that is no answer fails the run.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use harness::agent::DIALS;
use harness::http1::{Conn, Head};
use harness::tls::server_name;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Scale;
use super::master::WORK;
use crate::work::{REOPENS, Run, Step, What};

/// How long an agent waits for an answer (`http_read_timeout`).
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How often an agent comes back for one request when it is told to.
const RETURNS: usize = 100;
/// Bytes of facts, and of a report.
const BODY: usize = 30_000;

/// Why a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Answered with this status.
    Status(u16),
    /// The connection ended within a request or its answer.
    Cut,
    /// No connection, or no handshake.
    Unconnected,
    /// No answer in time.
    Silent,
    /// Told to come back once too often.
    SentAway,
    /// Still not at its end when the measurement was ended.
    Unended,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Cut => f.write_str("cut"),
            Self::Unconnected => f.write_str("not connected"),
            Self::Silent => f.write_str("no answer"),
            Self::SentAway => f.write_str("sent away too often"),
            Self::Unended => f.write_str("not ended"),
        }
    }
}

/// What an agent saw of its run, by the clock on the wall.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The whole run, if it came to a good end.
    pub run: Option<Duration>,
    /// From a catalog's request to its answer, a new connection included.
    pub catalogs: Vec<Duration>,
    /// The same of small requests.
    pub small: Vec<Duration>,
    /// How often it was told to come back later.
    pub returns: usize,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// One agent.
pub(crate) struct Agent {
    /// Where the balancer is.
    pub to: SocketAddr,
    /// What it shows and believes.
    pub tls: Arc<ClientConfig>,
    /// Its certname.
    pub certname: String,
    /// How much faster than the site's clock goes.
    pub scale: Scale,
    /// What it is connected by.
    pub connection: Option<Conn<TlsStream<TcpStream>>>,
}

impl Agent {
    /// Does a whole run, from the moment when it is to begin.
    pub(crate) async fn run(mut self, run: &Run, begins: Instant) -> Told {
        let mut told = Told::default();
        sleep_until(begins).await;
        match self.steps(&run.steps, &mut told).await {
            Ok(()) => told.run = Some(begins.elapsed()),
            Err(failure) => told.failure = Some(failure),
        }
        told
    }

    async fn steps(&mut self, steps: &[Step], told: &mut Told) -> Result<(), Failure> {
        let mut facts_sent = false;
        for step in steps {
            sleep(self.scale.wall(step.pause)).await;
            if step.pause > REOPENS {
                self.hang_up().await;
            }
            let request = self.request(step, facts_sent);
            facts_sent |= step.what == What::Catalog;
            let asked = Instant::now();
            self.ask(&request, &mut told.returns).await?;
            match step.what {
                What::Catalog => told.catalogs.push(asked.elapsed()),
                What::Node | What::Small => told.small.push(asked.elapsed()),
                What::Report => {}
            }
        }
        self.hang_up().await;
        Ok(())
    }

    /// Asks until there is an answer to go on with.
    async fn ask(&mut self, request: &[u8], returns: &mut usize) -> Result<(), Failure> {
        for _ in 0..RETURNS {
            let patience = self.scale.wall(PATIENCE);
            let head = timeout(patience, self.once(request)).await.unwrap_or(Err(Failure::Silent))?;
            if head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                self.hang_up().await;
            }
            let later = head.get("retry-after").and_then(|after| after.parse().ok());
            match (head.status(), later) {
                (200, _) => return Ok(()),
                (429 | 503, Some(seconds)) => {
                    *returns += 1;
                    self.hang_up().await;
                    sleep(self.scale.wall(Duration::from_secs(seconds))).await;
                }
                (status, _) => return Err(Failure::Status(status)),
            }
        }
        Err(Failure::SentAway)
    }

    async fn once(&mut self, request: &[u8]) -> Result<Head, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.to, &self.tls).await.ok_or(Failure::Unconnected)?),
        };
        connection.write(request).await.map_err(|_| Failure::Cut)?;
        let head = connection.head().await.ok().flatten().ok_or(Failure::Cut)?;
        // No method here has answers without a body.
        connection.body(head.response_framing("GET"), &mut |_| {}).await.map_err(|_| Failure::Cut)?;
        Ok(head)
    }

    async fn hang_up(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close().await;
        }
    }

    fn request(&self, step: &Step, facts_sent: bool) -> Vec<u8> {
        let certname = &self.certname;
        let work = self.scale.wall(step.work).as_micros();
        let (line, body) = match step.what {
            What::Node => (format!("GET /puppet/v3/node/{certname}"), ""),
            What::Small if facts_sent => {
                ("GET /puppet/v3/file_metadata/modules/base/etc/profile.d/base.sh".to_owned(), "")
            }
            What::Small => ("GET /puppet/v3/file_metadatas/plugins".to_owned(), ""),
            What::Catalog => {
                (format!("POST /puppet/v3/catalog/{certname}"), "application/x-www-form-urlencoded")
            }
            What::Report => (format!("PUT /puppet/v3/report/{certname}"), "application/json"),
        };
        let length = if body.is_empty() { 0 } else { BODY };
        let framing = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {body}\r\nContent-Length: {length}\r\n")
        };
        let mut request = format!(
            "{line}?environment=production HTTP/1.1\r\nX-Puppet-Version: 8.10.0\r\n\
             User-Agent: Puppet/8.10.0 Ruby/3.2.5-p208 (x86_64-linux)\r\nAccept: application/json, text/pson\r\n\
             {WORK}: {work}\r\n{framing}Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n\
             Host: {DIALS}:8140\r\n\r\n"
        )
        .into_bytes();
        request.resize(request.len() + length, b'x');
        request
    }
}

/// A connection with a full handshake, where there can be one.
pub(crate) async fn connect(to: SocketAddr, tls: &Arc<ClientConfig>) -> Option<Conn<TlsStream<TcpStream>>> {
    let tcp = TcpStream::connect(to).await.ok()?;
    tcp.set_nodelay(true).ok()?;
    let connector = TlsConnector::from(Arc::clone(tls));
    connector.connect(server_name(DIALS), tcp).await.ok().map(Conn::new)
}
