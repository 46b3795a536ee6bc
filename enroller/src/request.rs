//! What a certificate request asks for, held against what it may ask for.
//!
//! A certificate decides who a machine is, by which names it may serve, and by Puppet's own extensions what it may do:
//! `pp_cli_auth` makes an administrator of the CA. So a request is signed only when it is for the key that is on the
//! machine, for the names the settings say, and for nothing else. The same judgement is made of the certificate that
//! the CA gave back.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Request as Allowed;
use stagedoor_config::revocation::sha256;
use stagedoor_config::subject;
use x509_cert::Certificate;
use x509_cert::attr::Attributes;
use x509_cert::der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Everything of Puppet's own stands below this.
const PUPPET: &str = "1.3.6.1.4.1.34380.1.";
/// Rights and roles below that.
const AUTHORIZATION: &str = "1.3.6.1.4.1.34380.1.3.";
/// Asked for by every agent since Puppet 8: that its certificate may be renewed. It gives no right to anybody else.
const AUTO_RENEW: &str = "1.3.6.1.4.1.34380.1.3.2";
const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
/// Under which a request asks for extensions: the standard's name, and Microsoft's, which Puppet's Ruby CA signs as well.
const EXTENSION_REQUESTS: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14"),
];
/// What a CA adds to every certificate by itself: key identifiers, constraints, usages, and Netscape's comment.
const OF_THE_CA: [&str; 6] =
    ["2.5.29.14", "2.5.29.35", "2.5.29.19", "2.5.29.15", "2.5.29.37", "2.16.840.1.113730.1.13"];

/// What stands in a request or in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The subject's one name.
    pub certname: Option<Certname>,
    /// SHA-256 of the public key, in hexadecimal.
    pub key: String,
    /// Alternative names that are host names, in lower case.
    pub names: BTreeSet<String>,
    /// Alternative names that are something else, in words.
    pub odd_names: Vec<String>,
    /// Puppet's extensions: identifier and value.
    pub extensions: Vec<(String, String)>,
    /// Other extensions, by identifier.
    pub others: Vec<String>,
    /// The serial number in hexadecimal, of a certificate.
    pub serial: Option<String>,
}

/// A text that is no request or no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotReadable {
    expected: &'static str,
}

impl Asked {
    /// What a certificate request in PEM form asks for.
    ///
    /// # Errors
    /// It is none.
    pub fn of_request(pem: &str) -> Result<Self, NotReadable> {
        let error = NotReadable { expected: "a certificate request in PEM form" };
        // Puppet's own begin with `-----BEGIN CERTIFICATE REQUEST-----`, those of older OpenSSL with another word.
        let pem = pem.trim().replace(" NEW CERTIFICATE REQUEST-", " CERTIFICATE REQUEST-");
        let info = CertReq::from_pem(pem.as_bytes()).map_err(|_| error)?.info;
        let extensions = requested(&info.attributes).ok_or(error)?;
        let certname = subject::certname(&info.subject).ok();
        Self::read(certname, &info.public_key, &extensions, None).ok_or(error)
    }

    /// What the first certificate of a PEM text says.
    ///
    /// # Errors
    /// It is none.
    pub fn of_certificate(pem: &str) -> Result<Self, NotReadable> {
        let error = NotReadable { expected: "a certificate in PEM form" };
        let certificate = Certificate::from_pem(pem.trim().as_bytes()).map_err(|_| error)?;
        let of = certificate.tbs_certificate();
        let all = of.extensions().map(Vec::as_slice).unwrap_or_default();
        let extensions: Vec<Extension> = all.iter().filter(|one| !is_of_the_ca(one)).cloned().collect();
        let serial = hex(of.serial_number().as_bytes());
        let certname = subject::certname(of.subject()).ok();
        Self::read(certname, of.subject_public_key_info(), &extensions, Some(serial)).ok_or(error)
    }

    fn read(
        certname: Option<Certname>,
        key: &SubjectPublicKeyInfoOwned,
        extensions: &[Extension],
        serial: Option<String>,
    ) -> Option<Self> {
        let key = hex(&sha256(&key.to_der().ok()?));
        let mut asked = Self {
            certname,
            key,
            names: BTreeSet::new(),
            odd_names: Vec::new(),
            extensions: Vec::new(),
            others: Vec::new(),
            serial,
        };
        for extension in extensions {
            let oid = extension.extn_id.to_string();
            let value = extension.extn_value.as_bytes();
            if extension.extn_id == ALTERNATIVE_NAMES {
                for name in SubjectAltName::from_der(value).ok()?.0 {
                    match name {
                        GeneralName::DnsName(name) => {
                            asked.names.insert(name.as_str().to_ascii_lowercase());
                        }
                        other => asked.odd_names.push(format!("{other:?}").chars().take(80).collect()),
                    }
                }
            } else if oid.starts_with(PUPPET) {
                asked.extensions.push((oid, text(value)));
            } else {
                asked.others.push(oid);
            }
        }
        Some(asked)
    }

    /// Everything in which this differs from what `certname` may have, in words; nothing when it may be signed. `key` is
    /// the SHA-256 of the public key on the machine.
    #[must_use]
    pub fn differences(&self, certname: &Certname, key: &str, allowed: &Allowed) -> Vec<String> {
        let mut found = Vec::new();
        match &self.certname {
            Some(there) if there == certname => {}
            Some(there) => found.push(format!("it is for {there}, not for {certname}")),
            None => found.push("its subject is not one certname".to_owned()),
        }
        if !self.key.eq_ignore_ascii_case(key) {
            found.push(format!("its key (SHA-256 {}) is not the one on the machine ({key})", self.key));
        }
        // Puppet adds the certname to the alternative names wherever there are any.
        let own = certname.as_str().to_owned();
        let expected: BTreeSet<&String> = allowed.dns_alt_names.iter().filter(|name| **name != own).collect();
        let there: BTreeSet<&String> = self.names.iter().filter(|name| **name != own).collect();
        for more in there.difference(&expected) {
            found.push(format!("the alternative name {more} is not in the settings"));
        }
        for missing in expected.difference(&there) {
            found.push(format!("the alternative name {missing} is missing"));
        }
        found
            .extend(self.odd_names.iter().map(|name| format!("the alternative name {name} is no host name")));
        for (oid, value) in &self.extensions {
            let same = allowed.extensions.iter().find(|allowed| allowed.oid == *oid);
            match same {
                Some(allowed) if allowed.value == *value => {}
                Some(allowed) => found.push(format!("{oid} is {value:?}, expected {:?}", allowed.value)),
                None if oid == AUTO_RENEW => {}
                None if oid.starts_with(AUTHORIZATION) => {
                    found
                        .push(format!("{oid} = {value:?} would give it rights that are not in the settings"));
                }
                None => found.push(format!("{oid} = {value:?} is not in the settings")),
            }
        }
        for allowed in &allowed.extensions {
            if !self.extensions.iter().any(|(oid, _)| *oid == allowed.oid) {
                found.push(format!("{} = {:?} is missing", allowed.oid, allowed.value));
            }
        }
        found.extend(self.others.iter().map(|oid| format!("the extension {oid} is not Puppet's")));
        found
    }
}

/// SHA-256 of a public key in PEM form (`PUBLIC KEY`), in hexadecimal.
///
/// # Errors
/// It is none.
pub fn key_of(pem: &str) -> Result<String, NotReadable> {
    let error = NotReadable { expected: "a public key in PEM form" };
    let key = SubjectPublicKeyInfoOwned::from_pem(pem.trim().as_bytes()).map_err(|_| error)?;
    Ok(hex(&sha256(&key.to_der().map_err(|_| error)?)))
}

/// A fingerprint as people write it: 64 hexadecimal digits, with or without colons and `SHA256:` before them.
#[must_use]
pub fn fingerprint(text: &str) -> Option<String> {
    let digits = text.trim();
    let digits = digits.strip_prefix("SHA256:").or_else(|| digits.strip_prefix("sha256:")).unwrap_or(digits);
    let plain: String =
        digits.chars().filter(|letter| *letter != ':').collect::<String>().to_ascii_lowercase();
    (plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(plain)
}

/// Extensions that stand in a request's attributes. What else stands there goes into no certificate.
fn requested(attributes: &Attributes) -> Option<Vec<Extension>> {
    let mut all = Vec::new();
    for attribute in attributes.iter().filter(|attribute| EXTENSION_REQUESTS.contains(&attribute.oid)) {
        for value in attribute.values.iter() {
            all.extend(Vec::<Extension>::from_der(&value.to_der().ok()?).ok()?);
        }
    }
    Some(all)
}

/// What a CA adds to the certificate of a node, which signs nobody.
fn is_of_the_ca(extension: &Extension) -> bool {
    let signs_others = || {
        let constraints = BasicConstraints::from_der(extension.extn_value.as_bytes());
        constraints.map_or(true, |constraints| constraints.ca)
    };
    let oid = extension.extn_id.to_string();
    OF_THE_CA.contains(&oid.as_str()) && !(extension.extn_id == BASIC_CONSTRAINTS && signs_others())
}

/// Puppet writes values as UTF-8 strings; before version 4 it wrote the bytes alone.
fn text(value: &[u8]) -> String {
    let text = Utf8StringRef::from_der(value).map(|text| text.to_string());
    text.unwrap_or_else(|_| String::from_utf8_lossy(value).into_owned())
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
