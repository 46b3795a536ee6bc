//! Certificate renewal as a CA's server does it whose header switch is off, written from Puppet Server's own text:
//! no package of Debian's has it.
//!
//! Whoever shows a certificate has that one renewed. Where `X-Client-Cert` stands beside it, the one in the header is
//! renewed instead, for those that `infra_inventory.txt` lists. The new certificate has the old one's name, key and
//! extensions.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::answer::Answer;
use crate::ca::PuppetCa;
use crate::csr::Request;
use crate::puppet::percent_decode;
use crate::record::Seen;
use crate::tls;

/// How long a renewed certificate lives, as Puppet Server's package has it.
pub const LIVES: Duration = Duration::from_secs(60 * 86_400);

const MARK: &str = "-----BEGIN CERTIFICATE-----";

/// What the CA goes by.
pub(super) struct Renewing {
    /// `allow-auto-renewal`.
    pub(super) on: AtomicBool,
    /// `infra_inventory.txt`.
    pub(super) infra: Mutex<BTreeSet<String>>,
}

impl Default for Renewing {
    fn default() -> Self {
        Self { on: AtomicBool::new(true), infra: Mutex::default() }
    }
}

impl Renewing {
    /// Answers `POST /puppet-ca/v1/certificate_renewal`.
    pub(super) fn answer(&self, ca: &PuppetCa, seen: &Seen) -> Answer {
        let Some(shown) = &seen.shown else {
            return Answer::text(403, "Forbidden request: /puppet-ca/v1/certificate_renewal (method :post)");
        };
        if !self.on.load(Ordering::Relaxed) {
            return Answer::text(404, "Not Found");
        }
        let listed = seen.peer.as_ref().is_some_and(|name| self.infra.lock().unwrap().contains(name));
        let certificate = match seen.head.get("x-client-cert") {
            None => Ok(shown.clone()),
            Some(_) if !listed => Err("No valid certificate found in renewal request"),
            Some(header) => one_certificate(header),
        };
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(why) => return Answer::text(400, why),
        };
        if !tls::believes(ca, &certificate) {
            return Answer::text(403, "Certificate present, but does not match signature");
        }
        match Request::again(&certificate) {
            Ok((request, serial)) if !ca.signing().has_revoked(&serial) => {
                Answer::text(200, ca.sign_for(&request, LIVES))
            }
            Ok(_) => Answer::text(400, "No valid certificate found in renewal request"),
            Err(why) => Answer::text(400, why),
        }
    }
}

fn one_certificate(header: &str) -> Result<CertificateDer<'static>, &'static str> {
    let pem = percent_decode(header).ok_or("Unable to URL decode the x-client-cert header")?;
    match pem.matches(MARK).count() {
        0 => Err("No certs found in PEM read from x-client-cert"),
        1 => CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "Unable to parse x-client-cert into certificate"),
        _ => Err("Only 1 PEM should be supplied for x-client-cert"),
    }
}
