//! Certificate authorities: one shaped like Puppet's, and the private one of the door.
//!
//! Puppet's own (since Puppet 6) is a root and an intermediate that signs; older ones are a single self-signed
//! certificate. Both keep `ca_crt.pem` with every CA certificate and `ca_crl.pem` with one list for each of them, and
//! both count serial numbers from 1, so numbers alone identify nobody. Keys are P-256 unless asked otherwise, because
//! a test should not wait for prime numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use crate::csr;
use crate::door::binary;
use crate::identity::{Identity, KeyKind, Leaf};

const DAY: Duration = Duration::from_secs(86_400);
const FIVE_YEARS: Duration = Duration::from_secs(5 * 365 * 86_400);

/// One certificate authority: an issuer, its next serial number and its list of revoked ones.
pub struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    next_serial: AtomicU64,
    book: Mutex<Book>,
}

struct Book {
    revoked: Vec<Vec<u8>>,
    crl_number: u64,
}

impl Authority {
    /// A self-signed authority.
    #[must_use]
    pub fn self_signed(name: &str, key: KeyKind) -> Self {
        let issuer =
            CertifiedIssuer::self_signed(ca_params(name, 1), key.generate()).expect("a CA signs itself");
        Self::new(name, issuer)
    }

    /// An authority signed by this one.
    #[must_use]
    pub fn intermediate(&self, name: &str, key: KeyKind) -> Self {
        let params = ca_params(name, self.next_serial.fetch_add(1, Ordering::Relaxed));
        let issuer =
            CertifiedIssuer::signed_by(params, key.generate(), &self.issuer).expect("a CA signs a CA");
        Self::new(name, issuer)
    }

    fn new(name: &str, issuer: CertifiedIssuer<'static, KeyPair>) -> Self {
        let book = Mutex::new(Book { revoked: Vec::new(), crl_number: 1 });
        Self { name: name.to_owned(), issuer, next_serial: AtomicU64::new(2), book }
    }

    /// The subject's common name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The authority's own certificate, as a file holds it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes a key and a certificate for it.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        let key = leaf.key.generate();
        let (certificate, serial) = self.certify(leaf, &key);
        Identity::new(&leaf.name, certificate.der().clone(), certificate.pem(), &key, serial)
    }

    /// A certificate for somebody else's key.
    pub(crate) fn certify(&self, leaf: &Leaf, key: &impl PublicKeyData) -> (rcgen::Certificate, Vec<u8>) {
        let serial = leaf.serial.unwrap_or_else(|| self.next_serial.fetch_add(1, Ordering::Relaxed));
        let mut params = leaf.params();
        let number = SerialNumber::from(serial);
        let bytes = number.to_bytes();
        params.serial_number = Some(number);
        let issuer: &Issuer<'static, KeyPair> = &self.issuer;
        (params.signed_by(key, issuer).expect("a CA signs"), bytes)
    }

    /// Takes a certificate back: the next list holds it, under a higher number.
    pub fn revoke(&self, identity: &Identity) {
        self.revoke_serial(&identity.serial);
    }

    /// Takes back whatever carries this serial number.
    pub fn revoke_serial(&self, serial: &[u8]) {
        let mut book = self.book.lock().unwrap();
        book.revoked.push(serial.to_vec());
        book.crl_number += 1;
    }

    /// Whether it took back what carries this serial number.
    #[must_use]
    pub fn has_revoked(&self, serial: &[u8]) -> bool {
        self.book.lock().unwrap().revoked.iter().any(|revoked| revoked == serial)
    }

    /// The list of revoked certificates as of now.
    #[must_use]
    pub fn crl_pem(&self) -> String {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let book = self.book.lock().unwrap();
        let revoked = book.revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: epoch + since_1970(SystemTime::now() - Duration::from_secs(60)),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: epoch + since_1970(SystemTime::now() - DAY),
            next_update: epoch + since_1970(SystemTime::now() + FIVE_YEARS),
            crl_number: SerialNumber::from(book.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a CA signs its list").pem().expect("a list has a PEM form")
    }
}

fn ca_params(name: &str, serial: u64) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(serial));
    params.use_authority_key_identifier_extension = true;
    params.not_before = epoch + since_1970(SystemTime::now() - 30 * DAY);
    params.not_after = epoch + since_1970(SystemTime::now() + 3 * FIVE_YEARS);
    params
}

/// How long after 1970 a point in time is: what [`rcgen::date_time_ymd`] is added to.
pub(crate) fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Puppet's CA, with the files it keeps.
pub struct PuppetCa {
    root: Option<Authority>,
    signing: Authority,
}

impl PuppetCa {
    /// Root and intermediate, as `puppetserver ca setup` makes them since Puppet 6.
    #[must_use]
    pub fn with_intermediate() -> Self {
        Self::with_keys(KeyKind::P256)
    }

    /// The same with keys of another kind: what a chain costs to verify is the CA's keys.
    #[must_use]
    pub fn with_keys(key: KeyKind) -> Self {
        let root = Authority::self_signed("Puppet Root CA: 9f2c5f0c6c1e42", key);
        let signing = root.intermediate("Puppet CA: mom.example.com", key);
        Self { root: Some(root), signing }
    }

    /// One self-signed certificate, as Puppet made it before.
    #[must_use]
    pub fn self_signed() -> Self {
        Self { root: None, signing: Authority::self_signed("Puppet CA: mom.example.com", KeyKind::P256) }
    }

    /// The authority that signs nodes.
    #[must_use]
    pub fn signing(&self) -> &Authority {
        &self.signing
    }

    /// The authority above it, where there is one.
    #[must_use]
    pub fn root(&self) -> Option<&Authority> {
        self.root.as_ref()
    }

    /// Every CA certificate, the signing one first.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(&self.signing).chain(self.root()).map(Authority::certificate).collect()
    }

    /// `ca_crt.pem`.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        std::iter::once(&self.signing).chain(self.root()).map(Authority::pem).collect()
    }

    /// `ca_crl.pem`: a list for each CA.
    #[must_use]
    pub fn crl_pem(&self) -> String {
        std::iter::once(&self.signing).chain(self.root()).map(Authority::crl_pem).collect()
    }

    /// Makes a key and a certificate for it.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        self.signing.issue(leaf)
    }

    /// An agent as `puppet agent` has it: a certificate with its certname and nothing else.
    #[must_use]
    pub fn agent(&self, certname: &str) -> Identity {
        self.issue(&Leaf::node(certname))
    }

    /// Signs a certificate request: subject, key and Puppet's extensions are taken over.
    ///
    /// # Errors
    /// Says what is wrong with the request.
    pub fn sign(&self, request_pem: &str) -> Result<String, String> {
        let request = csr::Request::from_pem(request_pem)?;
        let (certificate, _) = self.signing.certify(&request.leaf(), &request);
        Ok(certificate.pem())
    }

    /// Signs what was asked for, to end so long from now.
    #[must_use]
    pub fn sign_for(&self, request: &csr::Request, lives: Duration) -> String {
        let leaf = request.leaf().ends_in(lives);
        self.signing.certify(&leaf, request).0.pem()
    }

    /// Takes a node's certificate back.
    pub fn revoke(&self, identity: &Identity) {
        self.signing.revoke(identity);
    }

    /// Writes `ca_crt.pem` and `ca_crl.pem` into a folder.
    pub fn write(&self, folder: &Path) -> CaFiles {
        let files = CaFiles { bundle: folder.join("ca_crt.pem"), crl: folder.join("ca_crl.pem") };
        replace(&files.bundle, &self.bundle_pem());
        replace(&files.crl, &self.crl_pem());
        files
    }
}

/// Where a CA's files are.
#[derive(Debug, Clone)]
pub struct CaFiles {
    /// `ca_crt.pem`.
    pub bundle: PathBuf,
    /// `ca_crl.pem`.
    pub crl: PathBuf,
}

/// Writes a file as a careful program does: beside it, then into its place.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap_or_else(|e| panic!("{}: {e}", beside.display()));
    fs::rename(&beside, path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The private CA that sealed masters accept client certificates of.
pub struct DoorCa(Made);

enum Made {
    /// For tests that want odd certificates of it.
    Here(Box<Authority>),
    /// By `stagedoor door-ca`, in this folder.
    ByCommand(TempDir),
}

impl DoorCa {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(Made::Here(Box::new(Authority::self_signed("stagedoor door CA", KeyKind::P256))))
    }

    /// A new one as an operator makes it.
    #[must_use]
    pub fn by_command() -> Self {
        let made = Self(Made::ByCommand(TempDir::new().expect("a temporary folder")));
        made.command(&["init"]);
        made
    }

    /// `stagedoor door-ca` with these words: what it said on its standard output.
    ///
    /// # Panics
    /// When it fails, or the CA was not made by it.
    pub fn command(&self, words: &[&str]) -> String {
        let done =
            Command::new(binary()).arg("door-ca").args(words).arg("--folder").arg(self.folder()).output();
        let done = done.expect("the door's program runs");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("words are UTF-8")
    }

    /// Where the command keeps it.
    ///
    /// # Panics
    /// When it was not made by the command.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        match &self.0 {
            Made::Here(_) => panic!("this CA was not made by `stagedoor door-ca`"),
            Made::ByCommand(folder) => folder.path().join("ca"),
        }
    }

    /// `ca.pem`.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        match &self.0 {
            Made::Here(authority) => authority.pem(),
            Made::ByCommand(_) => text(&self.folder().join("ca.pem")),
        }
    }

    /// `crl.pem`.
    #[must_use]
    pub fn crl_pem(&self) -> String {
        match &self.0 {
            Made::Here(authority) => authority.crl_pem(),
            Made::ByCommand(_) => text(&self.folder().join("crl.pem")),
        }
    }

    /// Writes `door-ca.pem` and `door-ca-crl.pem` into a folder.
    pub fn write(&self, folder: &Path) {
        replace(&folder.join("door-ca.pem"), &self.bundle_pem());
        replace(&folder.join("door-ca-crl.pem"), &self.crl_pem());
    }

    /// The client certificate of one door.
    #[must_use]
    pub fn door(&self, name: &str) -> Identity {
        let Made::ByCommand(folder) = &self.0 else { return self.issue(&Leaf::node(name)) };
        let out = folder.path();
        self.command(&["issue", name, "--out", &out.display().to_string()]);
        let key = KeyPair::from_pem(&text(&out.join(format!("{name}.key")))).expect("a key");
        let certificate = text(&out.join(format!("{name}.pem")));
        Identity::from_pem(name, &certificate, &key).expect("a certificate")
    }

    /// A certificate of another shape than a door's.
    ///
    /// # Panics
    /// When the CA was made by the command, which makes no other shape.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        self.here().issue(leaf)
    }

    /// Takes a certificate back.
    ///
    /// # Panics
    /// When the CA was made by the command, which is asked for it in words.
    pub fn revoke(&self, identity: &Identity) {
        self.here().revoke(identity);
    }

    fn here(&self) -> &Authority {
        match &self.0 {
            Made::Here(authority) => authority,
            Made::ByCommand(_) => panic!("this CA was made by `stagedoor door-ca`"),
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Default for DoorCa {
    fn default() -> Self {
        Self::new()
    }
}
