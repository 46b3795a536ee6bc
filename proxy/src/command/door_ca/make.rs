//! The keys, certificates and lists of a door CA: their shape, and nothing about where they are kept.
//!
//! | what | shape |
//! |---|---|
//! | CA certificate | P-256, `CN=stagedoor door CA ID`, may sign leaves and lists and no further CA, ten years |
//! | door's certificate | P-256, `CN=DOOR`, a client's and nothing else, one year, never longer than its CA |
//! | list | ten years: Jetty refuses every handshake under a list that has expired |
//!
//! Names of CAs differ by their ID, so that a reader who looks for a list by its issuer's name finds the right one
//! while two CAs stand side by side. All dates begin a day early: clocks of masters differ, and a list or a
//! certificate that begins tomorrow lets nobody in.

use std::time::Duration;

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a door's certificate is valid.
pub(super) const LEAF: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a CA and a list are valid.
pub(super) const AUTHORITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Every CA's name begins so, and ends with its ID.
const NAME: &str = "stagedoor door CA ";

/// Octets of an ID: enough that two CAs of one site never share it.
const ID_OCTETS: usize = 4;

/// A private key, wiped from memory when it is dropped.
pub(super) struct Key(Zeroizing<KeyPair>);

/// Why something was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMade {
    /// The library's word.
    #[error("expected to make a key, a certificate or a list")]
    Library(#[from] rcgen::Error),
    /// No random numbers.
    #[error("expected random numbers from the system, and it gave none")]
    Chance,
}

/// A certificate or a list that was revoked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revoked {
    /// Its serial number, big-endian.
    pub(super) serial: Vec<u8>,
    /// Since when.
    pub(super) at: UnixTime,
}

impl Key {
    /// A new P-256 key.
    pub(super) fn generate() -> Result<Self, NotMade> {
        Ok(Self(Zeroizing::new(KeyPair::generate()?)))
    }

    /// From the text of its file.
    pub(super) fn from_pem(text: &str) -> Result<Self, rcgen::Error> {
        KeyPair::from_pem(text).map(|key| Self(Zeroizing::new(key)))
    }

    /// The text of its file.
    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Its public half: a SubjectPublicKeyInfo in DER.
    pub(super) fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}

/// A new CA's ID: hexadecimal digits.
pub(super) fn id() -> Result<String, NotMade> {
    let octets: [u8; ID_OCTETS] = chance()?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// The common name of the CA with this ID.
pub(super) fn name(id: &str) -> String {
    format!("{NAME}{id}")
}

/// The ID in a CA's common name; none where it is no name of ours. It becomes part of a file's name, so nothing but
/// digits passes.
pub(super) fn id_in(name: &str) -> Option<&str> {
    name.strip_prefix(NAME).filter(|id| is_id(id))
}

/// Whether a text is the ID of a CA.
pub(super) fn is_id(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    text.len() == 2 * ID_OCTETS && text.bytes().all(digit)
}

/// A CA's certificate, in PEM.
pub(super) fn authority(id: &str, key: &Key, now: UnixTime) -> Result<String, NotMade> {
    let mut params = params(&name(id), now, after(now, AUTHORITY))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(&*key.0)?.pem())
}

/// A door's certificate, in PEM. `ends` is the end of the CA.
pub(super) fn leaf(
    door: &Certname,
    door_key: &Key,
    authority: &str,
    authority_key: &Key,
    now: UnixTime,
    ends: UnixTime,
) -> Result<String, NotMade> {
    let mut params = params(door.as_str(), now, after(now, LEAF).min(ends))?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.signed_by(&*door_key.0, &issuer(authority, authority_key))?.pem())
}

/// A CA's list of revoked certificates, in PEM.
pub(super) fn list(
    authority: &str,
    authority_key: &Key,
    number: &[u8],
    revoked: &[Revoked],
    now: UnixTime,
) -> Result<String, NotMade> {
    let revoked = revoked.iter().map(|one| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&one.serial),
        revocation_time: date_time_ymd(1970, 1, 1) + seconds(one.at),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(1970, 1, 1) + seconds(early(now)),
        next_update: date_time_ymd(1970, 1, 1) + seconds(after(now, AUTHORITY)),
        crl_number: SerialNumber::from_slice(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(&issuer(authority, authority_key))?.pem()?)
}

/// A day before: what a certificate taken back now is dated, so that it is refused at once where clocks are behind
/// (Java passes over a revocation that lies in its future).
pub(super) fn early(now: UnixTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_sub(DAY))
}

fn issuer<'a>(authority: &str, key: &'a Key) -> Issuer<'static, &'a KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(authority);
    Issuer::new(params, &key.0)
}

fn params(name: &str, now: UnixTime, ends: UnixTime) -> Result<CertificateParams, NotMade> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(1970, 1, 1) + seconds(early(now));
    params.not_after = date_time_ymd(1970, 1, 1) + seconds(ends);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// 126 bits of chance, positive, and as long each time.
fn serial() -> Result<SerialNumber, NotMade> {
    let mut octets: [u8; 16] = chance()?;
    if let Some(first) = octets.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(SerialNumber::from_slice(&octets))
}

fn chance<const N: usize>() -> Result<[u8; N], NotMade> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| NotMade::Chance)?;
    Ok(octets)
}

fn after(now: UnixTime, time: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(time))
}

/// Since 1970, which the library's dates are counted from: their type is of a crate that only the library names.
fn seconds(at: UnixTime) -> Duration {
    Duration::from_secs(at.as_secs())
}
