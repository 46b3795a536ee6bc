//! Which certificates a certificate authority has taken back.
//!
//! A list of revoked certificates is verified once, when it is loaded (`trust`), and kept as a set. The TLS library's
//! own check would verify the list's signature at every handshake, a millisecond with 50,000 entries.
//!
//! The key is the issuer's *public key* and the serial number, never the issuer's name: Puppet CAs that were rebuilt
//! carry the old name and count from 1 again, so a name would revoke the new CA's certificates by the old CA's list.
//!
//! An issuer without a list answers [`Status::NoList`], which is no kind of good.
#![deny(clippy::disallowed_methods)]

use std::collections::HashSet;
use std::fmt;

use aws_lc_rs::digest;

/// SHA-256 over a certificate authority's SubjectPublicKeyInfo (DER, outer SEQUENCE included).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of a SubjectPublicKeyInfo in DER, outer SEQUENCE included.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A certificate's serial number without leading zero octets, inline so that a lookup touches one cache line.
///
/// DER puts a zero octet before a number whose first bit is set; some issuers left it out. Both spellings are one
/// serial here: of two readings, the one that revokes more is the safe one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial {
    length: u8,
    octets: [u8; Self::MOST],
}

impl Serial {
    /// RFC 5280 ends serial numbers at 20 octets.
    pub const MOST: usize = 20;

    /// From the content octets of the INTEGER; none where more than 20 octets count.
    #[must_use]
    pub fn from_der_integer(content: &[u8]) -> Option<Self> {
        let zeros = content.iter().take_while(|octet| **octet == 0).count();
        let counted = content.get(zeros..)?;
        let mut octets = [0; Self::MOST];
        octets.get_mut(..counted.len())?.copy_from_slice(counted);
        Some(Self { length: u8::try_from(counted.len()).ok()?, octets })
    }
}

impl fmt::Display for Serial {
    /// Hexadecimal, as openssl prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("00");
        }
        self.octets.iter().take(usize::from(self.length)).try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the lists say of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The issuer's list does not name it.
    Good,
    /// The issuer's list names it.
    Revoked,
    /// There is no list of this issuer, so nothing is known.
    NoList,
}

/// Every list in force, one for each issuer's key.
#[derive(Clone, Default)]
pub struct RevocationSet {
    // A handful of issuers: comparing their hashes in turn is cheaper than a second map.
    issuers: Vec<(KeyHash, HashSet<Serial>)>,
}

impl RevocationSet {
    /// Puts one issuer's list in force, in place of its earlier one.
    pub fn put(&mut self, issuer: KeyHash, revoked: HashSet<Serial>) {
        match self.issuers.iter_mut().find(|(key, _)| *key == issuer) {
            Some((_, list)) => *list = revoked,
            None => self.issuers.push((issuer, revoked)),
        }
    }

    /// What the issuer's list says of this serial number.
    #[must_use]
    pub fn status(&self, issuer: &KeyHash, serial: &Serial) -> Status {
        match self.issuers.iter().find(|(key, _)| key == issuer) {
            None => Status::NoList,
            Some((_, revoked)) if revoked.contains(serial) => Status::Revoked,
            Some(_) => Status::Good,
        }
    }

    /// Whether the issuer's list names this serial number.
    #[must_use]
    pub fn contains(&self, issuer: &KeyHash, serial: &Serial) -> bool {
        self.status(issuer, serial) == Status::Revoked
    }

    /// Whether a list of this issuer is in force.
    #[must_use]
    pub fn covers(&self, issuer: &KeyHash) -> bool {
        self.issuers.iter().any(|(key, _)| key == issuer)
    }

    /// Revoked certificates over all lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.issuers.iter().map(|(_, revoked)| revoked.len()).sum()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for RevocationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.issuers.iter().map(|(key, revoked)| (key, revoked.len()))).finish()
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let hashed = digest::digest(&digest::SHA256, bytes);
    for (to, from) in out.iter_mut().zip(hashed.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(octets: &[u8]) -> Serial {
        Serial::from_der_integer(octets).unwrap()
    }

    #[test]
    fn leading_zeros_do_not_make_another_serial() {
        assert_eq!(serial(&[0, 0x80, 1]), serial(&[0x80, 1]));
        assert_eq!(serial(&[0]), serial(&[]));
        assert_ne!(serial(&[1]), serial(&[1, 0]));
        assert_eq!(serial(&[0, 0x80, 1]).to_string(), "8001");
        assert_eq!(serial(&[0]).to_string(), "00");
    }

    #[test]
    fn a_serial_ends_at_twenty_octets() {
        assert!(Serial::from_der_integer(&[0xff; 20]).is_some());
        let mut padded = [0xff; 21];
        padded[0] = 0;
        assert!(Serial::from_der_integer(&padded).is_some());
        assert!(Serial::from_der_integer(&[0xff; 21]).is_none());
    }

    #[test]
    fn the_same_serial_under_another_key_is_another_certificate() {
        let (old, new, unknown) =
            (KeyHash::of_spki(b"old"), KeyHash::of_spki(b"new"), KeyHash::of_spki(b"?"));
        let mut set = RevocationSet::default();
        set.put(old, HashSet::from([serial(&[5])]));
        set.put(new, HashSet::new());
        assert_eq!(set.status(&old, &serial(&[5])), Status::Revoked);
        assert_eq!(set.status(&old, &serial(&[6])), Status::Good);
        assert_eq!(set.status(&new, &serial(&[5])), Status::Good);
        assert_eq!(set.status(&unknown, &serial(&[5])), Status::NoList);
    }

    #[test]
    fn a_newer_list_replaces_the_older_one() {
        let key = KeyHash::of_spki(b"key");
        let mut set = RevocationSet::default();
        set.put(key, HashSet::from([serial(&[5])]));
        set.put(key, HashSet::from([serial(&[6])]));
        assert!(!set.contains(&key, &serial(&[5])));
        assert!(set.contains(&key, &serial(&[6])));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn fifty_thousand_entries_are_all_found() {
        let key = KeyHash::of_spki(b"key");
        let all: HashSet<Serial> = (0..50_000_u32).map(|n| serial(&n.to_be_bytes())).collect();
        let mut set = RevocationSet::default();
        set.put(key, all);
        assert_eq!(set.len(), 50_000);
        assert!((0..50_000_u32).all(|n| set.contains(&key, &serial(&n.to_be_bytes()))));
        assert!((50_000..60_000_u32).all(|n| !set.contains(&key, &serial(&n.to_be_bytes()))));
    }
}
