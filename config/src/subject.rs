//! The one name in a certificate's subject.
//!
//! Everything that asks a certificate who it is asks here, so that the handshake, the identity stated to a master and
//! `check --signed` cannot answer differently.
//!
//! Puppet Server takes the first value of the first RDN that holds a CN, even where that value is no CN (of
//! `OU=x+CN=agent` it reads `x`), splits the text at slashes where it cannot decode a value, and loses a backslash
//! that begins one (`\web01` becomes `web01`, though Puppet's CA signs both). A subject that readers could read
//! differently is no name here: exactly one CN, alone in its RDN, without characters that need escaping, and text
//! throughout.
#![deny(clippy::disallowed_methods)]

use std::borrow::Cow;

use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::{Tag, Tagged};
use x509_cert::name::Name;

use crate::certname::{Certname, NotACertname};

/// id-at-commonName.
pub const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

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
    /// The CN is in an encoding that readers differ on, or not ASCII.
    #[error("the CN is not written in ASCII")]
    Encoding,
    /// The CN needs escaping, and readers undo escapes in their own ways.
    #[error(
        "the CN holds a backslash, a quote, one of , + < > ; = # or a space at an end, \
         which Puppet Server may read as another name"
    )]
    Ambiguous,
    /// Another attribute is no text, or broken text: Puppet Server gives up on the whole subject.
    #[error("the subject holds an attribute that is not text")]
    NotText,
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
        for attribute in rdn.iter() {
            if attribute.oid == COMMON_NAME {
                if found.replace((&attribute.value, rdn.len())).is_some() {
                    return Err(NoCertname::Several);
                }
            } else if text(&attribute.value).is_none() {
                return Err(NoCertname::NotText);
            }
        }
    }
    let (value, in_rdn) = found.ok_or(NoCertname::Missing)?;
    if in_rdn != 1 {
        return Err(NoCertname::Shared);
    }
    let readable =
        matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString);
    let text = text(value).filter(|text| readable && text.is_ascii()).ok_or(NoCertname::Encoding)?;
    let certname = Certname::parse(&text).map_err(NoCertname::NotACertname)?;
    let needs_escaping = |c: char| matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#');
    if text.contains(needs_escaping) || text.starts_with(' ') || text.ends_with(' ') {
        return Err(NoCertname::Ambiguous);
    }
    Ok(certname)
}

/// An attribute's value as text; none where it is not a string of a kind that certificates use, or a broken one.
#[must_use]
pub fn text(value: &Any) -> Option<Cow<'_, str>> {
    let octets = value.value();
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(octets).ok().map(Cow::Borrowed),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(octets).ok().filter(|text| text.is_ascii()).map(Cow::Borrowed)
        }
        // T.61 in name, Latin-1 in every certificate that was ever seen to use it.
        Tag::TeletexString => Some(octets.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (pairs, rest) = octets.as_chunks::<2>();
            let units = pairs.iter().copied().map(u16::from_be_bytes);
            let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
            text.filter(|_| rest.is_empty()).map(Cow::Owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use x509_cert::der::Decode;

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

    #[test]
    fn a_cn_that_needs_escaping_names_nobody() {
        for value in [
            "\\web01",
            "# web01",
            "web01,cn=other",
            "web\"01",
            " web01",
            "web01 ",
            "a=b",
            "a+b",
            "a;b",
            "a<b>",
        ] {
            let rdn = format!("30{:02x}0603550403{}", value.len() + 7, "0c");
            let mut der: Vec<u8> = (0..rdn.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&rdn[at..at + 2], 16).unwrap())
                .collect();
            der.push(u8::try_from(value.len()).unwrap());
            der.extend_from_slice(value.as_bytes());
            let wrap = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).unwrap()], inner].concat();
            let subject = Name::from_der(&wrap(0x30, &wrap(0x31, &der))).unwrap();
            assert_eq!(certname(&subject), Err(NoCertname::Ambiguous), "{value:?}");
        }
        assert!(read("CN=a web 01").is_ok());
    }

    #[test]
    fn every_kind_of_string_is_text_and_nothing_else_is() {
        let text = |tag, octets: &[u8]| text(&Any::new(tag, octets).unwrap()).map(Cow::into_owned);
        assert_eq!(text(Tag::Utf8String, "\u{e4}".as_bytes()).as_deref(), Some("\u{e4}"));
        assert_eq!(text(Tag::TeletexString, &[0xe4]).as_deref(), Some("\u{e4}"));
        assert_eq!(text(Tag::BmpString, &[0, 0xe4]).as_deref(), Some("\u{e4}"));
        assert_eq!(text(Tag::PrintableString, b"a").as_deref(), Some("a"));
        assert_eq!(text(Tag::Utf8String, &[0xff]), None);
        assert_eq!(text(Tag::PrintableString, &[0xe4]), None);
        assert_eq!(text(Tag::BmpString, &[0, 0x61, 0]), None, "half a character");
        assert_eq!(text(Tag::BmpString, &[0xd8, 0]), None, "half a surrogate pair");
        assert_eq!(text(Tag::OctetString, b"a"), None);
    }
}
