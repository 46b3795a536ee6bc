//! Puppet's own conventions: paths, percent-encoding, distinguished names, trusted extensions.
//!
//! Written apart from the door's code on purpose: a stand-in that shared the door's parsers would share its mistakes.

use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem};
use x509_cert::ext::Extension;
use x509_cert::name::Name;

use crate::csr::utf8;

/// The arc of Puppet's trusted extensions, as text.
pub const EXTENSIONS: &str = "1.3.6.1.4.1.34380.1.";
const COMMON_NAME: &str = "2.5.4.3";

/// What a certificate says about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWords {
    /// The subject's common name.
    pub name: String,
    /// Puppet's extensions: dotted object identifier and text.
    pub extensions: Vec<(String, String)>,
}

impl CertificateWords {
    /// Reads a certificate.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        Some(Self::from(&Certificate::from_der(der).ok()?))
    }

    /// Reads the one certificate of a PEM text; none where there are more or fewer.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        if pem.matches("-----BEGIN CERTIFICATE-----").count() != 1 {
            return None;
        }
        Some(Self::from(&Certificate::from_pem(pem).ok()?))
    }

    fn from(certificate: &Certificate) -> Self {
        let tbs = certificate.tbs_certificate();
        let extensions = tbs.extensions().map(|all| puppet_extensions(all)).unwrap_or_default();
        Self { name: common_name(tbs.subject()).unwrap_or_default(), extensions }
    }
}

pub(crate) fn common_name(name: &Name) -> Option<String> {
    let mut attributes = name.iter();
    let found = attributes.find(|a| a.oid.to_string() == COMMON_NAME)?;
    std::str::from_utf8(found.value.value()).ok().map(str::to_owned)
}

pub(crate) fn puppet_extensions(all: &[Extension]) -> Vec<(String, String)> {
    let ours = all.iter().filter(|e| e.extn_id.to_string().starts_with(EXTENSIONS));
    ours.map(|e| (e.extn_id.to_string(), utf8(e.extn_value.as_bytes()))).collect()
}

/// The common name of a distinguished name in RFC 2253's form.
///
/// Puppet Server reads OpenSSL's one-line form as well; the door promises this one, so nothing else is believed.
#[must_use]
pub fn dn_common_name(dn: &str) -> Option<&str> {
    dn.split(',').find_map(|part| part.trim().strip_prefix("CN=")).filter(|name| !name.is_empty())
}

/// Undoes percent-encoding; `+` stays `+`, as Puppet Server has it.
#[must_use]
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high * 16 + low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes everything but unreserved characters.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What a request asks for, in either of Puppet's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `puppet`, `puppet-ca`, `puppet-admin-api`, `status`, `packages`, or `legacy` for `/:environment/:indirection/:key`.
    pub mount: &'a str,
    /// `catalog`, `node`, `file_content`, …
    pub what: &'a str,
    /// What follows, without a slash in front.
    pub key: &'a str,
}

impl<'a> Asked<'a> {
    /// Takes a path apart; paths of no known form have an empty `what`.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let mut parts = path.trim_start_matches('/').splitn(4, '/');
        let [first, second, third, fourth] = [(); 4].map(|()| parts.next().unwrap_or_default());
        match (first, second) {
            ("puppet" | "puppet-ca" | "puppet-admin-api" | "status", "v1" | "v3" | "v4") => {
                Self { mount: first, what: third, key: fourth }
            }
            ("packages", _) => Self { mount: first, what: second, key: third },
            ("puppet" | "puppet-ca" | "puppet-admin-api" | "status", _) => {
                Self { mount: first, what: "", key: "" }
            }
            _ => {
                let after = path.trim_start_matches('/').splitn(3, '/').nth(2).unwrap_or_default();
                Self { mount: "legacy", what: second, key: after }
            }
        }
    }

    /// Whether this is CA bootstrap, in either form.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.mount == "puppet-ca" || (self.mount == "legacy" && self.what.starts_with("certificate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_both_forms_say_what_they_ask_for() {
        let of = |path| {
            let asked = Asked::of(path);
            (asked.mount, asked.what, asked.key)
        };
        assert_eq!(of("/puppet/v3/catalog/web01"), ("puppet", "catalog", "web01"));
        assert_eq!(
            of("/puppet/v3/file_content/plugins/a/b.rb"),
            ("puppet", "file_content", "plugins/a/b.rb")
        );
        assert_eq!(of("/puppet-ca/v1/certificate/ca"), ("puppet-ca", "certificate", "ca"));
        assert_eq!(of("/production/catalog/web01"), ("legacy", "catalog", "web01"));
        assert_eq!(of("/production/file_content/plugins/a/b"), ("legacy", "file_content", "plugins/a/b"));
        assert_eq!(of("/packages/current/install.bash"), ("packages", "current", "install.bash"));
        assert_eq!(of("/status/v1/simple/server"), ("status", "simple", "server"));
    }

    #[test]
    fn percent_encoding_goes_both_ways_and_leaves_plus_alone() {
        let text = "-----BEGIN CERTIFICATE-----\nMI+/=\n";
        assert_eq!(percent_decode(&percent_encode(text)).as_deref(), Some(text));
        assert_eq!(percent_decode("a+b%2B").as_deref(), Some("a+b+"));
        assert_eq!(percent_decode("%4"), None);
    }
}
