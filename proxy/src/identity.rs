//! Who an agent is, as its handshake proved it, in the words a compile master understands.
//!
//! A master believes three headers without question and never compares them: name and extensions must come from one
//! certificate, so all three are made here, once for a connection, from the certificate that the handshake verified.
//!
//! The subject is written as RFC 2253 text that has one reading. Puppet Server parses it with Bouncy Castle and, where
//! that fails, splits it at slashes and takes what begins with `CN=`. So beside RFC 2253's own specials, `=` and `/`
//! are escaped; escapes are hexadecimal, since Java's parsers lose their place in `\\\,` and a header's ends are trimmed
//! on the way; and attribute types without a keyword carry the prefix `OID.`, whose capitals keep the whole text from
//! ever being a certname.
//!
//! What it refuses to do: name anybody whose subject readers could read differently (`config::subject`), or shorten
//! anything to make it fit.
#![deny(clippy::disallowed_methods)]

use std::fmt::Write as _;

use http::HeaderValue;
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::subject::{self, NoCertname};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Encode};
use x509_cert::name::Name;

use crate::headers::{Stated, X_CLIENT_CERT, X_CLIENT_DN, X_CLIENT_VERIFY};

#[cfg(test)]
mod tests;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A certificate was shown and verified.
    Verified(Verified),
    /// None was shown: a new agent, curl, a health check.
    Nobody,
}

/// What a verified certificate says, in headers that cost a reference count to repeat.
#[derive(Debug, Clone)]
pub struct Verified {
    certname: Certname,
    dn: HeaderValue,
    cert: HeaderValue,
    not_after: UnixTime,
}

/// Why a certificate gives no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// It does not parse.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It names nobody for certain.
    #[error("the certificate names nobody")]
    NoName(#[source] NoCertname),
}

impl NoIdentity {
    /// One stable word, of those that `Refused` has too: the handshake refuses the same certificates.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoName(_) => "no_name",
        }
    }
}

impl Identity {
    /// From a certificate in DER that the handshake has verified; nothing is verified here.
    ///
    /// # Errors
    /// Says why the certificate names nobody.
    pub fn from_certificate(der: &[u8]) -> Result<Self, NoIdentity> {
        let parsed = Certificate::from_der(der).map_err(|_| NoIdentity::Malformed)?;
        let tbs = parsed.tbs_certificate();
        let certname = subject::certname(tbs.subject()).map_err(NoIdentity::NoName)?;
        let header = |text: String| HeaderValue::try_from(text).map_err(|_| NoIdentity::Malformed);
        Ok(Self::Verified(Verified {
            certname,
            dn: header(rfc2253(tbs.subject()).ok_or(NoIdentity::NoName(NoCertname::NotText))?)?,
            cert: header(percent_encoded_pem(der).ok_or(NoIdentity::Malformed)?)?,
            not_after: UnixTime::since_unix_epoch(tbs.validity().not_after.to_unix_duration()),
        }))
    }

    /// The name, where there is one.
    #[must_use]
    pub const fn certname(&self) -> Option<&Certname> {
        match self {
            Self::Verified(verified) => Some(&verified.certname),
            Self::Nobody => None,
        }
    }

    /// What the handshake proved; none where no certificate was shown.
    #[must_use]
    pub const fn verified(&self) -> Option<&Verified> {
        match self {
            Self::Verified(verified) => Some(verified),
            Self::Nobody => None,
        }
    }

    /// What a compile master is told.
    #[must_use]
    pub const fn stated(&self) -> Stated<'_> {
        match self {
            Self::Verified(Verified { dn, cert, .. }) => Stated::Verified { dn, cert },
            Self::Nobody => Stated::Nobody,
        }
    }

    /// When the leaf ends.
    #[must_use]
    pub const fn not_after(&self) -> Option<UnixTime> {
        match self {
            Self::Verified(verified) => Some(verified.not_after),
            Self::Nobody => None,
        }
    }

    /// The bytes that stating it adds to a request's head: an agent with a large certificate must be told so before
    /// it asks a master that would not read the head.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        const LINE: usize = ": \r\n".len();
        let line = |name: &str, value: usize| name.len() + value + LINE;
        match self {
            Self::Verified(verified) => {
                line(X_CLIENT_VERIFY.as_str(), "SUCCESS".len())
                    + line(X_CLIENT_DN.as_str(), verified.dn.len())
                    + line(X_CLIENT_CERT.as_str(), verified.cert.len())
            }
            Self::Nobody => line(X_CLIENT_VERIFY.as_str(), "NONE".len()),
        }
    }
}

impl Verified {
    /// The certificate, PEM, percent-encoded.
    #[must_use]
    pub const fn certificate(&self) -> &HeaderValue {
        &self.cert
    }
}

/// A subject as RFC 2253 text: the last RDN first; none where a value is no text.
fn rfc2253(subject: &Name) -> Option<String> {
    let mut rdns: Vec<_> = subject.iter_rdn().collect();
    rdns.reverse();
    let mut out = String::new();
    for rdn in rdns {
        let mut separator = if out.is_empty() { "" } else { "," };
        for attribute in rdn.iter() {
            out.push_str(separator);
            write_attribute(&mut out, attribute)?;
            separator = "+";
        }
    }
    Some(out)
}

fn write_attribute(out: &mut String, attribute: &AttributeTypeAndValue) -> Option<()> {
    let text = subject::text(&attribute.value)?;
    match keyword(&attribute.oid.to_string()) {
        Some(keyword) => {
            out.push_str(keyword);
            out.push('=');
            escape(out, &text);
        }
        None => {
            write!(out, "OID.{}=#", attribute.oid).ok()?;
            attribute.value.to_der().ok()?.iter().try_for_each(|octet| write!(out, "{octet:02X}")).ok()?;
        }
    }
    Some(())
}

/// The keywords of RFC 2253 §2.3; every reader knows these and no others for certain.
fn keyword(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => return None,
    })
}

fn escape(out: &mut String, text: &str) {
    let last = text.len().saturating_sub(1);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            b' ' if at == 0 || at == last => hex(out, '\\', octet),
            // Bouncy Castle fails on `\23` where a value begins.
            b'#' if at == 0 => out.push_str("\\#"),
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' | b'/' => hex(out, '\\', octet),
            b' '..=b'~' => out.push(char::from(octet)),
            _ => hex(out, '\\', octet),
        }
    }
}

/// A certificate as Puppet Server decodes it: PEM in 64-column lines with everything percent-encoded that is not
/// unreserved, since its decoder leaves `+` alone and a proxy between may not.
fn percent_encoded_pem(der: &[u8]) -> Option<String> {
    let pem = encode_string("CERTIFICATE", LineEnding::LF, der).ok()?;
    // One line end in 65 characters and about one base64 character in 20 grow threefold.
    let mut out = String::with_capacity(pem.len() + pem.len() / 4);
    for octet in pem.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(octet))
            }
            _ => hex(&mut out, '%', octet),
        }
    }
    Some(out)
}

fn hex(out: &mut String, lead: char, octet: u8) {
    let digit =
        |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or('0', |digit| digit.to_ascii_uppercase());
    out.push(lead);
    out.push(digit(octet >> 4));
    out.push(digit(octet & 15));
}
