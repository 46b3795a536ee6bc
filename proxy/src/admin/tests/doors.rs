//! Admin doors before a running door that is on paper, and how to ask them.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};
use stagedoor_config::admin::MastersView;
use stagedoor_config::admin::flush::{FlushedMaster, Outcome};
use stagedoor_config::admin::seats::Queue;
use stagedoor_config::master::Master;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::super::*;

/// How long a state is waited for before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running door's inside, on paper.
#[derive(Default)]
pub(crate) struct Paper {
    pub(crate) roster: Mutex<Arc<Roster>>,
    pub(crate) why: Mutex<Vec<String>>,
    pub(crate) unwritable: AtomicBool,
    pub(crate) slow: tokio::sync::Mutex<()>,
    pub(crate) asked: AtomicUsize,
    pub(crate) changes: AtomicUsize,
    /// Why no certificate is believed; none while each is.
    pub(crate) refused: Mutex<Option<Refused>>,
    /// How many certificates were to be judged, each time.
    pub(crate) judged: Mutex<Vec<usize>>,
    /// What was to be flushed, each time.
    pub(crate) flushes: Mutex<Vec<Vec<Environment>>>,
}

impl Inside for Paper {
    fn ready(&self) -> Result<(), Vec<String>> {
        self.asked.fetch_add(1, SeqCst);
        let why = self.why.lock().unwrap().clone();
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.lock().unwrap())
    }

    fn queue(&self) -> Queue {
        Queue { small: 0, catalogs: 0, oldest_seconds: None, expected_seconds: 0.0, held_seconds: None }
    }

    fn levels(&self) -> Levels {
        Levels::default()
    }

    fn hold(&self, seconds: u16) -> Duration {
        Duration::from_secs(u64::from(seconds))
    }

    fn masters(&self) -> MastersView {
        MastersView { generation: self.roster().generation, masters: Vec::new() }
    }

    fn status(&self, master: &Master, level: Level) -> Later<Result<Status, NoStatus>> {
        let late = master.certname.as_str().starts_with("late");
        let body = json!({ "of": master.certname, "level": format!("{level:?}") }).to_string();
        Box::pin(async move {
            if late {
                return Err(NoStatus::Late);
            }
            let content_type = HeaderValue::from_static("application/json;charset=utf-8");
            Ok(Status { status: StatusCode::SERVICE_UNAVAILABLE, content_type, body: body.into() })
        })
    }

    fn flush(&self, environments: Vec<Environment>) -> Later<Flushed> {
        self.flushes.lock().unwrap().push(environments);
        let became = |master: &Master| {
            let failed = master.certname.as_str().starts_with("late");
            let outcome = if failed { Outcome::Failed } else { Outcome::Flushed };
            FlushedMaster { certname: master.certname.clone(), outcome, status: None, why: None }
        };
        let masters = self.roster().masters.iter().map(became).collect();
        Box::pin(async move { Flushed { masters } })
    }

    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Certname, Refused> {
        self.judged.lock().unwrap().push(chain.len());
        let refused = self.refused.lock().unwrap().clone();
        refused.map_or_else(|| Ok(Certname::parse("web01.example.com").unwrap()), Err)
    }

    fn operators(&self) -> Option<Arc<ServerConfig>> {
        None
    }

    fn change(&self, change: &Change) -> Result<Arc<Roster>, NotChanged> {
        self.changes.fetch_add(1, SeqCst);
        let _held = self.slow.blocking_lock();
        let mut roster = self.roster.lock().unwrap();
        let next = change(&roster)?;
        if self.unwritable.load(SeqCst) {
            let path = PathBuf::from("/var/lib/stagedoor/roster.toml");
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(NotReplaced { path, step: "write a new file", in_place: false, source }.into());
        }
        *roster = Arc::new(next);
        Ok(Arc::clone(&roster))
    }
}

pub(crate) struct Doors {
    pub(crate) inside: Arc<Paper>,
    pub(crate) observe: Arc<Observe>,
    pub(crate) open: Open,
    pub(crate) shutdown: CancellationToken,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) async fn doors() -> Doors {
    doors_within(Limits::ADMIN).await
}

pub(crate) async fn doors_within(limits: Limits) -> Doors {
    let folder = tempfile::tempdir().unwrap();
    let unix = Some(folder.path().join("admin.sock"));
    let settings = Admin { http: Some("127.0.0.1:0".parse().unwrap()), unix, tls: None };
    let (inside, observe) = (Arc::new(Paper::default()), Observe::new(1));
    let shutdown = CancellationToken::new();
    let within = Arc::clone(&inside) as Arc<dyn Inside>;
    let open = serve_within(limits, &settings, within, Arc::clone(&observe), shutdown.clone()).await.unwrap();
    Doors { inside, observe, open, shutdown, folder }
}

impl Doors {
    pub(crate) async fn http(&self) -> TcpStream {
        TcpStream::connect(self.open.http.unwrap()).await.unwrap()
    }

    /// A connection that has its place, has had an answer, and asks no more.
    pub(crate) async fn idle(&self) -> TcpStream {
        let mut stream = self.http().await;
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut byte = [0];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
        stream
    }

    pub(crate) async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.open.unix.as_ref().unwrap()).await.unwrap()
    }

    pub(crate) async fn change(&self, what: &str, body: Value) -> (u16, Value) {
        let answer =
            ask(self.unix().await, "POST", &format!("/v1/roster/{what}"), "stagedoor", Some(&body)).await;
        (answer.status, answer.json())
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub(crate) async fn raw(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Answer {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut all)).await.unwrap().unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
    let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("{all:?}")).parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(crate) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    host: &str,
    body: Option<&Value>,
) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let body = body.map(ToString::to_string).unwrap_or_default();
    if !body.is_empty() {
        write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).unwrap();
    }
    raw(stream, &format!("{text}\r\n{body}")).await
}

pub(crate) fn admission(certname: &str) -> Value {
    json!({ "certname": certname, "address": format!("{certname}:8140") })
}
