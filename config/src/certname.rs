//! The name in a certificate.
//!
//! Puppet takes lower-case printable ASCII without a slash. The same text names a node in a path, a master on the
//! roster and an agent in the access log, so it is checked once, here, and carried as a type from then on.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;

/// A certname: printable ASCII, lower case, no slash, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Certname(Arc<str>);

/// Why a text is no certname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotACertname {
    /// Nothing was written.
    #[error("a certname is empty")]
    Empty,
    /// A DNS name ends at 255 bytes, and so does Puppet's.
    #[error("a certname is longer than 255 bytes")]
    TooLong,
    /// Puppet refuses upper case, slashes and anything outside printable ASCII.
    #[error("a certname holds a character other than printable lower-case ASCII, or a slash")]
    Character,
    /// A master is connected to by its certname, so it must be a host name as well.
    #[error("a master's certname is no host name (letters, digits, `-`, `_` and `.`)")]
    NotAHostName,
}

impl Certname {
    /// A certname as Puppet allows it for any node.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, NotACertname> {
        if text.is_empty() {
            return Err(NotACertname::Empty);
        }
        if text.len() > 255 {
            return Err(NotACertname::TooLong);
        }
        let allowed = |b: u8| matches!(b, b' '..=b'~') && b != b'/' && !b.is_ascii_uppercase();
        if !text.bytes().all(allowed) {
            return Err(NotACertname::Character);
        }
        Ok(Self(text.into()))
    }

    /// A certname that is also a host name: what a compile master and the Master of Masters must have.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse_host(text: &str) -> Result<Self, NotACertname> {
        let name = Self::parse(text)?;
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if text.split('.').all(label) { Ok(name) } else { Err(NotACertname::NotAHostName) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Certname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Certname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for Certname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Certname {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Certname {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certname_is_lower_case_printable_and_has_no_slash() {
        assert!(Certname::parse("web-01.example.com").is_ok());
        assert!(Certname::parse("a b").is_ok());
        for bad in ["", "Web01", "a/b", "a\nb", "näme", &"a".repeat(256)] {
            assert!(Certname::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_master_has_a_host_name() {
        assert!(Certname::parse_host("add.master.example.com").is_ok());
        assert!(Certname::parse_host("add_master").is_ok());
        for bad in ["a b", "-a.example.com", "a..b", "a;b", "a."] {
            assert!(Certname::parse_host(bad).is_err(), "{bad:?}");
        }
    }
}
