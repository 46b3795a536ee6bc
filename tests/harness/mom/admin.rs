//! What the CA does for those who administer it, and catalogs that nodes ask the Master of Masters for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;

use super::{Desk, Mom, NAME};
use crate::answer::Answer;
use crate::csr;
use crate::master::catalog;
use crate::puppet::Asked;
use crate::record::Seen;

/// Who may administer, and what is allowed.
pub(super) struct Admin {
    allowed: Mutex<BTreeSet<String>>,
    tokens: Mutex<BTreeSet<String>>,
    alternative_names: AtomicBool,
    /// Whether only requests without alternative names are signed as they come.
    pub(super) plain_alone: AtomicBool,
    /// What takes the place of a request just before it is signed.
    swaps: Mutex<HashMap<String, String>>,
    catalog_bytes: Mutex<usize>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            allowed: Mutex::default(),
            tokens: Mutex::default(),
            alternative_names: AtomicBool::new(true),
            plain_alone: AtomicBool::new(false),
            swaps: Mutex::default(),
            catalog_bytes: Mutex::new(2048),
        }
    }
}

impl Mom {
    /// Lets a certname sign and revoke, by a rule in auth.conf.
    pub fn let_administer(&self, certname: &str) {
        self.desk.admin.allowed.lock().unwrap().insert(certname.to_owned());
    }

    /// Nobody signs or revokes by certificate any more.
    pub fn let_nobody_administer(&self) {
        self.desk.admin.allowed.lock().unwrap().clear();
    }

    /// Lets whoever has this token sign and revoke; an empty one takes every token back.
    pub fn let_token(&self, token: &str) {
        let mut tokens = self.desk.admin.tokens.lock().unwrap();
        if token.is_empty() {
            tokens.clear();
        } else {
            tokens.insert(token.to_owned());
        }
    }

    /// `allow-subject-alt-names`.
    pub fn allow_alternative_names(&self, on: bool) {
        self.desk.admin.alternative_names.store(on, Ordering::Relaxed);
    }

    /// Requests with alternative names wait for somebody, whatever is signed as it comes.
    pub fn autosign_plain_alone(&self) {
        self.desk.admin.plain_alone.store(true, Ordering::Relaxed);
    }

    /// How large the catalogs are that it compiles: other than a master's, and the two differ.
    pub fn compiles_bytes(&self, bytes: usize) {
        *self.desk.admin.catalog_bytes.lock().unwrap() = bytes;
    }

    /// Every CA certificate, as `ca_crt.pem` has them.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        self.desk.ca.bundle_pem()
    }

    /// The certificate of this name; none where it is not signed.
    #[must_use]
    pub fn signed(&self, certname: &str) -> Option<String> {
        self.desk.signed.lock().unwrap().get(certname).cloned()
    }

    /// How often this name was signed.
    #[must_use]
    pub fn times_signed(&self, certname: &str) -> usize {
        self.desk.times_signed.lock().unwrap().get(certname).copied().unwrap_or_default()
    }

    /// Takes a request over, as PUT does.
    pub fn hand_in(&self, certname: &str, request: &str) {
        self.desk.take_request(certname, request.as_bytes());
    }

    /// Somebody replaces the request of this name just before it is signed, as `allow-duplicate-certs` lets everybody.
    pub fn replace_before_signing(&self, certname: &str, request: &str) {
        self.desk.admin.swaps.lock().unwrap().insert(certname.to_owned(), request.to_owned());
    }

    /// Whether the certificate of this name is on the list of revoked ones.
    #[must_use]
    pub fn has_revoked(&self, certname: &str) -> bool {
        let signed = self.signed(certname).and_then(|pem| Certificate::from_pem(pem.as_bytes()).ok());
        signed.is_some_and(|it| {
            self.desk.ca.signing().has_revoked(it.tbs_certificate().serial_number().as_bytes())
        })
    }

    /// Forgets a certificate, which is revoked, as `puppetserver ca clean` does.
    pub fn clean(&self, certname: &str) {
        self.revoke_named(certname).ok();
        self.desk.signed.lock().unwrap().remove(certname);
    }

    /// Signs a request that waits, as `puppetserver ca sign` does.
    ///
    /// # Errors
    /// Its words when it does not.
    pub fn sign_waiting(&self, certname: &str) -> Result<(), String> {
        let answer = self.desk.set_state(certname, "signed");
        if answer.status == 204 { Ok(()) } else { Err(format!("Error: code: {}", answer.status)) }
    }

    /// Takes a certificate back, as `puppetserver ca revoke` does.
    ///
    /// # Errors
    /// Its words when there is none.
    pub fn revoke_named(&self, certname: &str) -> Result<(), String> {
        let answer = self.desk.set_state(certname, "revoked");
        if answer.status == 204 { Ok(()) } else { Err(format!("Error: code: {}", answer.status)) }
    }
}

impl Desk {
    pub(super) fn administer(&self, seen: &Seen, certname: &str, body: &[u8]) -> Answer {
        let by_name = |name: &String| self.admin.allowed.lock().unwrap().contains(name);
        let token = seen.head.get("x-authentication").map(str::to_owned);
        let by_token = token.as_ref().map(|token| self.admin.tokens.lock().unwrap().contains(token));
        match (by_token, seen.peer.as_ref()) {
            (Some(true), _) => {}
            (Some(false), _) => return Answer::text(401, "The provided token is not valid"),
            (None, Some(peer)) if by_name(peer) => {}
            _ => return Answer::text(403, format!("Forbidden request: {} (method :put)", seen.path())),
        }
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        self.set_state(certname, wanted["desired_state"].as_str().unwrap_or_default())
    }

    fn set_state(&self, certname: &str, state: &str) -> Answer {
        match state {
            "signed" => {
                if let Some(other) = self.admin.swaps.lock().unwrap().remove(certname) {
                    self.requests.lock().unwrap().insert(certname.to_owned(), other);
                }
                let Some(request) = self.requests.lock().unwrap().get(certname).cloned() else {
                    return Answer::text(404, "Invalid certificate subject.");
                };
                let names =
                    csr::Request::from_pem(&request).map(|request| request.alt_names).unwrap_or_default();
                if names.iter().any(|name| name != certname)
                    && !self.admin.alternative_names.load(Ordering::Relaxed)
                {
                    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
                    return Answer::text(
                        409,
                        format!(
                            "CSR '{certname}' contains subject alternative names ({}), which are disallowed. Use `puppetserver ca \
                             sign --certname {certname}` after allow-subject-alt-names is true",
                            names.join(", ")
                        ),
                    );
                }
                if let Err(why) = self.sign(certname, &request) {
                    return Answer::text(409, why);
                }
                self.requests.lock().unwrap().remove(certname);
                Answer::text(204, "")
            }
            "revoked" => {
                let signed = self.signed.lock().unwrap().get(certname).cloned();
                let certificate = signed.and_then(|pem| Certificate::from_pem(pem.as_bytes()).ok());
                match certificate {
                    Some(certificate) => {
                        self.ca
                            .signing()
                            .revoke_serial(certificate.tbs_certificate().serial_number().as_bytes());
                        Answer::text(204, "")
                    }
                    None => Answer::text(404, "Invalid certificate subject."),
                }
            }
            _ => Answer::text(400, "State is not one of signed, revoked"),
        }
    }

    /// A catalog for whoever asks in his own name, over TLS.
    pub(super) fn compile(&self, seen: &Seen, asked: Asked<'_>) -> Answer {
        match seen.peer.as_deref() {
            Some(peer) if peer == asked.key => {
                Answer::json(&catalog(peer, &[], NAME, *self.admin.catalog_bytes.lock().unwrap()))
            }
            _ => Answer::text(403, format!("Forbidden request: {}", seen.path())),
        }
    }
}
