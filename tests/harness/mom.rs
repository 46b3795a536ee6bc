//! The Master of Masters: CA bootstrap, certificate renewal and packages.
//!
//! Shaped like Puppet Server's CA service: unauthenticated GETs of `ca_crt.pem`, `ca_crl.pem` and signed
//! certificates, a certificate request that is taken once (a second one is 400), and PE's `/packages/` whose install
//! script names the server it came from. Of catalogs it compiles those that a node asks it for over TLS. Whatever else
//! arrives is recorded and refused.

mod admin;
mod renewal;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;

use crate::answer::{Act, Answer, Body, Script};
use crate::ca::{DoorCa, PuppetCa};
use crate::csr;
use crate::http1::Head;
use crate::identity::Leaf;
use crate::listening::Listening;
use crate::puppet::Asked;
use crate::record::{Record, Seen};
use crate::serving::{self, Role, serve};
use crate::tls;
use admin::Admin;
use renewal::Renewing;

pub use renewal::LIVES as RENEWED_LIVES;

/// The name of the Master of Masters in every fleet.
pub const NAME: &str = "mom.example.com";

/// A running Master of Masters; a copy is the same one.
#[derive(Clone)]
pub struct Mom {
    listening: Arc<Listening>,
    desk: Arc<Desk>,
}

struct Desk {
    ca: Arc<PuppetCa>,
    autosign: AtomicBool,
    renewing: Renewing,
    requests: Mutex<HashMap<String, String>>,
    signed: Mutex<HashMap<String, String>>,
    times_signed: Mutex<HashMap<String, usize>>,
    admin: Admin,
    record: Record,
    script: Script,
}

impl Mom {
    /// Starts it on a free port; it signs what it is asked to until [`Mom::autosign`] says otherwise.
    #[must_use]
    pub fn start(ca: &Arc<PuppetCa>, door_ca: &DoorCa) -> Self {
        let identity = ca.issue(&Leaf::server(NAME).alt_name("puppet"));
        let desk = Arc::new(Desk {
            ca: ca.clone(),
            autosign: AtomicBool::new(true),
            renewing: Renewing::default(),
            requests: Mutex::default(),
            signed: Mutex::default(),
            times_signed: Mutex::default(),
            admin: Admin::default(),
            record: Record::default(),
            script: Script::default(),
        });
        let shared = desk.clone();
        let listening = Listening::start(
            tls::wanting(&identity, ca, door_ca),
            Arc::new(move |conn, id| Box::pin(serve(shared.clone(), conn, id))),
        );
        Self { listening: Arc::new(listening), desk }
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

    pub(crate) async fn ask(
        &self,
        peer: Option<CertificateDer<'static>>,
        head: Head,
        body: &[u8],
    ) -> Option<Answer> {
        serving::answer(&*self.desk, peer, head, body).await
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

    /// Whether certificate requests are signed as they come.
    pub fn autosign(&self, on: bool) {
        self.desk.autosign.store(on, Ordering::Relaxed);
    }

    /// Whether certificates are renewed: `allow-auto-renewal`.
    pub fn auto_renewal(&self, on: bool) {
        self.desk.renewing.on.store(on, Ordering::Relaxed);
    }

    /// Writes a certname into `infra_inventory.txt`: who may have others' certificates renewed.
    pub fn list_in_infra_inventory(&self, certname: &str) {
        self.desk.renewing.infra.lock().unwrap().insert(certname.to_owned());
    }

    /// Signs a request that waits.
    ///
    /// # Panics
    /// When there is none.
    pub fn sign(&self, certname: &str) {
        let request = self.desk.requests.lock().unwrap().remove(certname);
        self.desk
            .sign(certname, &request.unwrap_or_else(|| panic!("{certname} has asked for nothing")))
            .unwrap();
    }

    /// Which requests wait.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        self.desk.requests.lock().unwrap().keys().cloned().collect()
    }
}

impl Desk {
    fn sign(&self, certname: &str, request: &str) -> Result<(), String> {
        let pem = self.ca.sign(request)?;
        self.signed.lock().unwrap().insert(certname.to_owned(), pem);
        *self.times_signed.lock().unwrap().entry(certname.to_owned()).or_default() += 1;
        Ok(())
    }

    fn take_request(&self, certname: &str, body: &[u8]) -> Answer {
        let again =
            |state| Answer::text(400, format!("{certname} already has a {state} certificate; ignoring"));
        if self.signed.lock().unwrap().contains_key(certname) {
            return again("signed");
        }
        if self.requests.lock().unwrap().contains_key(certname) {
            return again("requested");
        }
        let text = String::from_utf8_lossy(body).into_owned();
        let plain = match csr::Request::from_pem(&text) {
            Err(why) => return Answer::text(400, why),
            Ok(request) if request.name != certname => {
                let (subject, key) = (request.name, certname);
                return Answer::text(
                    400,
                    format!("Instance name \"{subject}\" does not match requested key \"{key}\""),
                );
            }
            Ok(request) => request.alt_names.iter().all(|name| name == certname),
        };
        if self.autosign.load(Ordering::Relaxed) && (plain || !self.admin.plain_alone.load(Ordering::Relaxed))
        {
            if let Err(why) = self.sign(certname, &text) {
                return Answer::text(400, why);
            }
        } else {
            self.requests.lock().unwrap().insert(certname.to_owned(), text);
        }
        Answer::text(200, "")
    }

    fn ca(&self, seen: &Seen, asked: Asked<'_>, body: &[u8]) -> Answer {
        let name = asked.key;
        let or_missing = |found: Option<String>, what: &str| match found {
            Some(pem) => Answer::text(200, pem),
            None => Answer::text(404, format!("Could not find {what} {name}")),
        };
        match (seen.head.method(), asked.what) {
            ("GET", "certificate") if name == "ca" => Answer::text(200, self.ca.bundle_pem()),
            ("GET", "certificate") => {
                or_missing(self.signed.lock().unwrap().get(name).cloned(), "certificate")
            }
            ("GET", "certificate_revocation_list") => Answer::text(200, self.ca.crl_pem()),
            ("GET", "certificate_request") => {
                or_missing(self.requests.lock().unwrap().get(name).cloned(), "certificate_request")
            }
            ("PUT", "certificate_request") => self.take_request(name, body),
            ("PUT", "certificate_status") => self.administer(seen, name, body),
            ("POST", "certificate_renewal") if name.is_empty() => self.renewing.answer(&self.ca, seen),
            _ => Answer::text(403, "Forbidden request"),
        }
    }

    fn packages(&self, path: &str) -> Answer {
        if path == "/packages/current/install.bash" {
            return Answer::text(
                200,
                format!("#!/bin/bash\nPUPPETSERVER={NAME}\nexec curl https://{NAME}:8140/packages\n"),
            );
        }
        match path.rsplit_once("/bytes-").and_then(|(_, size)| size.parse().ok()) {
            Some(size) => Answer::octets(Body::Pattern(size)),
            None => Answer::text(404, "no such package"),
        }
    }
}

impl Role for Desk {
    type Held = ();

    async fn hold(&self, _: &Head) {}

    async fn answer(&self, seen: &Seen, body: &[u8]) -> Option<Answer> {
        let asked = seen.asked();
        Some(match asked.mount {
            _ if asked.is_ca() => self.ca(seen, asked, body),
            "packages" => self.packages(seen.path()),
            "puppet" | "legacy" if asked.what == "catalog" => self.compile(seen, asked),
            _ => Answer::text(403, "Forbidden request: this server has the CA and the packages"),
        })
    }

    fn wants_whole_body(&self, _: &Head) -> bool {
        true
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn keeps_records(&self) -> bool {
        true
    }

    fn script(&self) -> &Script {
        &self.script
    }
}
