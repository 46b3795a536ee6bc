//! What a node is issued: a certificate, its key, and the words of both.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_cert::der::Decode as _;

use crate::ca::since_1970;

/// The arc of Puppet's trusted extensions; `pp_role` is 1.13 under it.
pub const PUPPET_ARC: [u64; 8] = [1, 3, 6, 1, 4, 1, 34380, 1];
/// `pp_role`, as tests use it most.
pub const PP_ROLE: &str = "1.3.6.1.4.1.34380.1.1.13";

/// What kind of key a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// Made in microseconds.
    #[default]
    P256,
    /// The least that is accepted.
    Rsa2048,
    /// Puppet's default `keylength`; seconds to make.
    Rsa4096,
}

impl KeyKind {
    /// A new key.
    #[must_use]
    pub fn generate(self) -> KeyPair {
        let made = match self {
            Self::P256 => KeyPair::generate(),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        made.expect("a key is generated")
    }
}

/// A certificate to be made.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certname, which is the subject's common name.
    pub name: String,
    /// DNS names or addresses beside it.
    pub alt_names: Vec<String>,
    /// Puppet's extensions: dotted object identifier and text.
    pub extensions: Vec<(String, String)>,
    /// The key.
    pub key: KeyKind,
    /// Where it differs from "yesterday".
    pub not_before: Option<SystemTime>,
    /// Where it differs from "in five years".
    pub not_after: Option<SystemTime>,
    /// Where it is not simply the next one.
    pub serial: Option<u64>,
    /// Whether it may sign others.
    pub signs: bool,
    /// Whether it is for servers alone.
    pub no_client: bool,
}

impl Leaf {
    /// An agent's certificate, as older Puppet signs it: no alternative name at all.
    #[must_use]
    pub fn node(certname: &str) -> Self {
        Self {
            name: certname.to_owned(),
            alt_names: Vec::new(),
            extensions: Vec::new(),
            key: KeyKind::P256,
            not_before: None,
            not_after: None,
            serial: None,
            signs: false,
            no_client: false,
        }
    }

    /// A server's certificate: its certname among the alternative names.
    #[must_use]
    pub fn server(certname: &str) -> Self {
        Self::node(certname).alt_name(certname)
    }

    /// One more alternative name, DNS or address.
    #[must_use]
    pub fn alt_name(mut self, name: &str) -> Self {
        self.alt_names.push(name.to_owned());
        self
    }

    /// A trusted extension.
    #[must_use]
    pub fn extension(mut self, oid: &str, text: &str) -> Self {
        self.extensions.push((oid.to_owned(), text.to_owned()));
        self
    }

    /// The trusted extension `pp_role`.
    #[must_use]
    pub fn role(self, role: &str) -> Self {
        self.extension(PP_ROLE, role)
    }

    /// Another kind of key.
    #[must_use]
    pub fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// A certificate that ends so long from now (whole seconds).
    #[must_use]
    pub fn ends_in(mut self, time: Duration) -> Self {
        self.not_after = Some(SystemTime::now() + time);
        self
    }

    /// A certificate that ended an hour ago.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.not_after = Some(SystemTime::now() - Duration::from_secs(3600));
        self
    }

    /// A certificate with this serial number, whatever number is next.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = Some(serial);
        self
    }

    /// A certificate that may sign others.
    #[must_use]
    pub fn signing(mut self) -> Self {
        self.signs = true;
        self
    }

    /// A certificate that its extended key usage keeps to servers.
    #[must_use]
    pub fn for_servers_alone(mut self) -> Self {
        self.no_client = true;
        self
    }

    pub(crate) fn params(&self) -> CertificateParams {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name.as_str());
        params.not_before = epoch + since_1970(self.not_before.unwrap_or(now - day));
        params.not_after = epoch + since_1970(self.not_after.unwrap_or(now + 5 * 365 * day));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if self.no_client {
            params.extended_key_usages.pop();
        }
        if self.signs {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.subject_alt_names = self.alt_names.iter().map(|name| alt_name(name)).collect();
        params.custom_extensions = self.custom_extensions();
        params
    }

    /// A certificate request for this leaf, with Puppet's extensions asked for.
    #[must_use]
    pub fn request_pem(&self, key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name.as_str());
        params.subject_alt_names = self.alt_names.iter().map(|name| alt_name(name)).collect();
        params.custom_extensions = self.custom_extensions();
        params.serialize_request(key).expect("a request is signed").pem().expect("a request has a PEM form")
    }

    fn custom_extensions(&self) -> Vec<CustomExtension> {
        let one = |(oid, text): &(String, String)| {
            let arcs: Vec<u64> = oid.split('.').map(|arc| arc.parse().expect("an arc is a number")).collect();
            CustomExtension::from_oid_content(&arcs, utf8_string(text))
        };
        self.extensions.iter().map(one).collect()
    }
}

fn alt_name(name: &str) -> SanType {
    name.parse()
        .map_or_else(|_| SanType::DnsName(name.try_into().expect("a DNS name is ASCII")), SanType::IpAddress)
}

/// A DER UTF8String, as Puppet writes the values of its extensions.
fn utf8_string(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|n| *n < 128).expect("extensions of tests are short");
    let mut der = vec![0x0c, length];
    der.extend_from_slice(text.as_bytes());
    der
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certname.
    pub name: String,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate, as a file holds it.
    pub certificate_pem: String,
    /// The key, as a file holds it.
    pub key_pem: String,
    /// The serial number's bytes.
    pub serial: Vec<u8>,
    key_der: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(
        name: &str,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
        key: &KeyPair,
        serial: Vec<u8>,
    ) -> Self {
        let (key_pem, key_der) = (key.serialize_pem(), key.serialize_der());
        Self { name: name.to_owned(), certificate, certificate_pem, key_pem, serial, key_der }
    }

    /// A certificate as a CA sent it, with the key it was asked for.
    ///
    /// # Errors
    /// When the text is no certificate.
    pub fn from_pem(name: &str, pem: &str, key: &KeyPair) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
        let parsed = x509_cert::Certificate::from_der(&certificate)?;
        let serial = parsed.tbs_certificate().serial_number().as_bytes().to_vec();
        Ok(Self::new(name, certificate, pem.to_owned(), key, serial))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }

    /// Writes `STEM.pem` and `STEM.key` into a folder and says where they are.
    pub fn write(&self, folder: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
        fs::write(&certificate, &self.certificate_pem)
            .and_then(|()| fs::write(&key, &self.key_pem))
            .and_then(|()| fs::set_permissions(&key, fs::Permissions::from_mode(0o600)))
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        (certificate, key)
    }
}
