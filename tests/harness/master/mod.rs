//! A compile master: sealed, or open.
//!
//! A sealed one is shaped like Puppet Server with `allow-header-cert-info` on, and with a door CA as the only authority
//! for client certificates: a connection without a certificate of it gets no byte of an answer; who asks is what the
//! `X-Client-*` headers say. It has so many JRubies, holds one from before a request's body is read until the answer
//! exists, and takes as long for a catalog as its [`Work`] says. An open one ends agents' TLS itself: who asks is whose
//! certificate the connection shows, whatever headers say.

mod answers;
mod believe;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::agent::DIALS;
use crate::answer::{Act, Answer, Script};
use crate::ca::{DoorCa, PuppetCa};
use crate::http1::Head;
use crate::identity::{Identity, Leaf};
use crate::listening::Listening;
use crate::puppet::Asked;
use crate::record::{Record, Seen};
use crate::serving::{self, Role, serve};
use crate::tls;

pub(crate) use answers::catalog;
pub use believe::Believed;

/// For how long a master has been up when a test begins.
const HAS_BEEN_UP: Duration = Duration::from_secs(60 * 60);

/// How long something takes: a median, and how far it spreads (the sigma of a log-normal distribution; 0 is always
/// the median).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Half of all take less.
    pub median: Duration,
    /// 0.5 puts one in forty above 2.7 medians.
    pub spread: f64,
}

impl Work {
    /// Always the same time.
    #[must_use]
    pub fn always(time: Duration) -> Self {
        Self { median: time, spread: 0.0 }
    }

    async fn take(self) {
        if self.median.is_zero() {
            return;
        }
        let (one, two) = (fastrand::f64().max(f64::MIN_POSITIVE), fastrand::f64());
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
        tokio::time::sleep(self.median.mul_f64((self.spread * normal).exp())).await;
    }
}

/// What a master answers to `/status/v1/simple/server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// 200 `running`.
    Running,
    /// 503 `starting`.
    Starting,
    /// 503 `error`.
    Failing,
    /// 404 for `server`, 200 for `master`: before Puppet Server 6.14.
    MasterOnly,
    /// No answer, for ever.
    Hanging,
}

/// A master to be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its certname.
    pub name: String,
    /// Alternative names of its certificate; empty makes one as old Puppet did, without any.
    pub alt_names: Vec<String>,
    /// Whether it ends agents' TLS and believes no headers.
    pub open: bool,
    /// How many requests it works on at once.
    pub jrubies: usize,
    /// How long a catalog takes.
    pub compile: Work,
    /// How long anything else that needs a JRuby takes.
    pub other: Work,
    /// How large a catalog is, about.
    pub catalog_bytes: usize,
    /// Whether requests are recorded; counting alone is cheaper.
    pub records: bool,
}

impl Plan {
    /// Four JRubies, catalogs in 5 ms.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            alt_names: vec![name.to_owned()],
            open: false,
            jrubies: 4,
            compile: Work::always(Duration::from_millis(5)),
            other: Work::always(Duration::ZERO),
            catalog_bytes: 2048,
            records: true,
        }
    }

    /// The same, open: with a certificate for the name that agents dial, too.
    #[must_use]
    pub fn open(name: &str) -> Self {
        Self { alt_names: vec![name.to_owned(), DIALS.to_owned()], open: true, ..Self::named(name) }
    }
}

/// A running compile master.
pub struct Master {
    listening: Listening,
    desk: Arc<Desk>,
    identity: Identity,
}

struct Desk {
    plan: Plan,
    jrubies: Arc<Semaphore>,
    busy: Arc<AtomicUsize>,
    most_busy: AtomicUsize,
    waited: AtomicUsize,
    health: Mutex<Health>,
    compile: Mutex<Work>,
    bucket: Mutex<HashMap<String, Bytes>>,
    /// Who may flush environment caches, by auth.conf.
    doors: Mutex<Vec<String>>,
    flushed: Mutex<Vec<Option<String>>>,
    /// Whether its pool is locked, as for a deploy.
    locked: AtomicBool,
    /// When its process was started, as it says.
    started: Mutex<Instant>,
    record: Record,
    script: Script,
}

impl Master {
    /// Starts it on a free port.
    #[must_use]
    pub fn start(plan: Plan, ca: &PuppetCa, door_ca: &DoorCa) -> Self {
        let leaf = plan.alt_names.iter().fold(Leaf::node(&plan.name), |leaf, name| leaf.alt_name(name));
        let identity = ca.issue(&leaf);
        let tls = match plan.open {
            true => tls::open_master(&identity, ca),
            false => tls::sealed_master(&identity, door_ca),
        };
        Self::start_with(plan, identity, tls)
    }

    /// Starts it with a certificate made elsewhere.
    #[must_use]
    pub fn start_as(plan: Plan, identity: Identity, door_ca: &DoorCa) -> Self {
        let tls = tls::sealed_master(&identity, door_ca);
        Self::start_with(plan, identity, tls)
    }

    fn start_with(plan: Plan, identity: Identity, tls: Arc<ServerConfig>) -> Self {
        let desk = Arc::new(Desk {
            jrubies: Arc::new(Semaphore::new(plan.jrubies)),
            busy: Arc::default(),
            most_busy: AtomicUsize::new(0),
            waited: AtomicUsize::new(0),
            health: Mutex::new(Health::Running),
            compile: Mutex::new(plan.compile),
            bucket: Mutex::default(),
            doors: Mutex::new(vec!["door1.example.com".to_owned()]),
            flushed: Mutex::default(),
            locked: AtomicBool::new(false),
            started: Mutex::new(Instant::now() - HAS_BEEN_UP),
            record: Record::default(),
            script: Script::default(),
            plan,
        });
        let shared = desk.clone();
        let listening =
            Listening::start(tls, Arc::new(move |conn, id| Box::pin(serve(shared.clone(), conn, id))));
        Self { listening, desk, identity }
    }

    /// A master that is to be, at an address of its own where nobody listens yet.
    #[must_use]
    pub(crate) fn not_yet(plan: Plan) -> Self {
        let identity = PuppetCa::self_signed().issue(&Leaf::node(&plan.name));
        let this = Self::start_with(plan, identity.clone(), tls::for_anybody(&identity));
        this.listening.rest();
        this
    }

    /// Has it serve with this certificate, sealed or open to everybody; says whether it did not serve before.
    pub(crate) fn lay_out(&self, identity: &Identity, sealed: bool, door_ca: &DoorCa) -> bool {
        let tls = if sealed { tls::sealed_master(identity, door_ca) } else { tls::for_anybody(identity) };
        self.listening.serve_anew(tls)
    }

    pub(crate) async fn ask(
        &self,
        peer: Option<CertificateDer<'static>>,
        head: Head,
        body: &[u8],
    ) -> Option<Answer> {
        serving::answer(&*self.desk, peer, head, body).await
    }

    /// Its certname.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.desk.plan.name
    }

    /// Whether it ends agents' TLS itself.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.desk.plan.open
    }

    /// Its certificate.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The listener, to be killed and restarted.
    #[must_use]
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Every request it has seen.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.desk.record
    }

    /// The next `times` requests whose path holds `part` are treated so; none means every one.
    pub fn script(&self, part: &str, times: Option<usize>, act: Act) {
        self.desk.script.add(part, times, act);
    }

    /// Every request for which `matches` says so is treated so; it is asked once for each.
    pub fn script_where(&self, matches: impl Fn(&Head) -> bool + Send + Sync + 'static, act: Act) {
        self.desk.script.add_matching(matches, None, act);
    }

    /// Everything is answered as it should again.
    pub fn behave(&self) {
        self.desk.script.clear();
    }

    /// What it says about itself from now on.
    pub fn health(&self, health: Health) {
        *self.desk.health.lock().unwrap() = health;
    }

    /// How long a catalog takes from now on.
    pub fn compile(&self, work: Work) {
        *self.desk.compile.lock().unwrap() = work;
    }

    /// Its process says that it has just been started.
    pub fn started_anew(&self) {
        *self.desk.started.lock().unwrap() = Instant::now();
    }

    /// Its JRuby pool says that it is locked from now on, as for a deploy, or that it is not.
    pub fn lock(&self, locked: bool) {
        self.desk.locked.store(locked, Ordering::Relaxed);
    }

    /// Somebody else, who comes past the door, keeps a JRuby until this is dropped.
    pub async fn occupied(&self) -> OwnedSemaphorePermit {
        self.desk.jrubies.clone().acquire_owned().await.expect("JRubies are never closed")
    }

    /// Nobody may flush its environment cache from now on, as with the packaged auth.conf.
    pub fn let_nobody_flush(&self) {
        self.desk.doors.lock().unwrap().clear();
    }

    /// The environments it was told to forget, in order; none means every one.
    #[must_use]
    pub fn flushed(&self) -> Vec<Option<String>> {
        self.desk.flushed.lock().unwrap().clone()
    }

    /// How many JRubies are in use.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.desk.busy.load(Ordering::Relaxed)
    }

    /// The most JRubies that were in use at once.
    #[must_use]
    pub fn most_busy(&self) -> usize {
        self.desk.most_busy.load(Ordering::Relaxed)
    }

    /// How many requests had to wait for a JRuby.
    #[must_use]
    pub fn waited(&self) -> usize {
        self.desk.waited.load(Ordering::Relaxed)
    }

    /// How many files its file bucket holds.
    #[must_use]
    pub fn bucket_files(&self) -> usize {
        self.desk.bucket.lock().unwrap().len()
    }
}

/// A borrowed JRuby.
pub(crate) struct Borrowed {
    _permit: OwnedSemaphorePermit,
    busy: Arc<AtomicUsize>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether Puppet Server borrows a JRuby for it.
fn needs_jruby(asked: Asked<'_>) -> bool {
    matches!(asked.mount, "puppet" | "legacy") && asked.what != "static_file_content"
}

impl Role for Desk {
    type Held = Option<Borrowed>;

    async fn hold(&self, head: &Head) -> Option<Borrowed> {
        if !needs_jruby(Asked::of(head.path())) {
            return None;
        }
        let permit = match self.jrubies.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.waited.fetch_add(1, Ordering::Relaxed);
                self.jrubies.clone().acquire_owned().await.ok()?
            }
        };
        let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_busy.fetch_max(busy, Ordering::Relaxed);
        Some(Borrowed { _permit: permit, busy: self.busy.clone() })
    }

    async fn answer(&self, seen: &Seen, body: &[u8]) -> Option<Answer> {
        let asked = seen.asked();
        if asked.mount == "status" {
            return self.status(seen, asked);
        }
        let believed = match self.plan.open {
            true => Ok(Believed::by_tls(seen.peer.as_deref())),
            false => Believed::of(&seen.head),
        };
        let answer = match believed {
            Err(why) => Answer::text(400, why),
            Ok(believed) if !self.allows(seen.head.method(), asked, &believed) => {
                Answer::text(403, format!("Forbidden request: {} ({})", seen.path(), seen.head.method()))
            }
            Ok(believed) => {
                if needs_jruby(asked) {
                    let work = if asked.what == "catalog" || asked.what == "compile" {
                        *self.compile.lock().unwrap()
                    } else {
                        self.plan.other
                    };
                    work.take().await;
                }
                self.reply(seen, asked, &believed, body)
            }
        };
        Some(answer.header("X-Puppet-Version", "8.10.0"))
    }

    fn wants_whole_body(&self, head: &Head) -> bool {
        Asked::of(head.path()).what == "file_bucket_file"
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn keeps_records(&self) -> bool {
        self.plan.records
    }

    fn script(&self) -> &Script {
        &self.script
    }
}
