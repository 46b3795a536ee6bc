//! The one name in a certificate's subject.
//!
//! Everything that asks a certificate who it is asks here, so that the handshake, the identity stated to a master and
//! `check --signed` cannot answer differently.
//!
//! Puppet Server takes the first value of the first RDN that holds a CN, even where that value is no CN; Ruby and
//! older servers take the last CN. A subject that those could read differently is no name here: exactly one CN,
//! alone in its RDN, or none at all.
#![deny(clippy::disallowed_methods)]

use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Tag, Tagged};
use x509_cert::name::Name;

use crate::certname::{Certname, NotACertname};

/// id-at-commonName.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Why a subject names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCertname {
    /// There is no CN.
    #[error("the subject has no CN; Puppet's CA signs one CN and nothing else")]
    Missing,
    /// There is more than one CN.
    #[error("the subject has more than one CN, so it names nobody for certain")]
    Several,
    /// The CN shares its RDN with other attributes.
    #[error("the CN stands in one RDN with another attribute, which Puppet Server may take for the name")]
    Shared,
    /// The CN is in an encoding other than UTF8String, PrintableString, IA5String or TeletexString, or not ASCII.
    #[error("the CN is not written in ASCII")]
    Encoding,
    /// The CN is no certname.
    #[error("the CN is no certname")]
    NotACertname(#[source] NotACertname),
}

/// The certname in a subject.
///
/// # Errors
/// Says why the subject names nobody.
pub fn certname(subject: &Name) -> Result<Certname, NoCertname> {
    let mut found = None;
    for rdn in subject.iter_rdn() {
        for attribute in rdn.iter().filter(|attribute| attribute.oid == COMMON_NAME) {
            if found.replace((attribute, rdn.len())).is_some() {
                return Err(NoCertname::Several);
            }
        }
    }
    let (attribute, beside) = found.ok_or(NoCertname::Missing)?;
    if beside != 1 {
        return Err(NoCertname::Shared);
    }
    let readable = matches!(
        attribute.value.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString
    );
    let text = std::str::from_utf8(attribute.value.value()).map_err(|_| NoCertname::Encoding)?;
    if !readable || !text.is_ascii() {
        return Err(NoCertname::Encoding);
    }
    Certname::parse(text).map_err(NoCertname::NotACertname)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn read(subject: &str) -> Result<Certname, NoCertname> {
        certname(&Name::from_str(subject).unwrap())
    }

    #[test]
    fn one_cn_is_a_name_wherever_it_stands() {
        for subject in
            ["CN=web01.example.com", "O=x,CN=web01.example.com,C=DE", "CN=web01.example.com,O=x+OU=y"]
        {
            assert_eq!(read(subject).unwrap().as_str(), "web01.example.com", "{subject}");
        }
    }

    #[test]
    fn no_cn_two_cns_and_a_shared_rdn_name_nobody() {
        assert_eq!(read("O=web01"), Err(NoCertname::Missing));
        assert_eq!(read("CN=a,O=x,CN=b"), Err(NoCertname::Several));
        assert_eq!(read("CN=a+CN=b"), Err(NoCertname::Several));
        assert_eq!(read("CN=a+O=b"), Err(NoCertname::Shared));
    }

    #[test]
    fn a_cn_that_is_no_certname_names_nobody() {
        for subject in ["CN=Web01", "CN=/CN=other", "CN=a\\0ab", "CN=a\\00b"] {
            assert!(matches!(read(subject), Err(NoCertname::NotACertname(_))), "{subject}");
        }
        assert_eq!(read("CN=n\u{e4}me"), Err(NoCertname::Encoding));
    }
}
