//! A range of IP addresses: `10.1.0.0/16`, or one address alone.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// As 128 bits, an IPv4 address in its mapped form; bits past the prefix are zero.
    first: u128,
    /// Bits that count, of 128.
    bits: u8,
}

/// The bits of the largest networks that belong to one owner, of IPv4 and of IPv6.
const LARGEST: u8 = 8;

/// An IPv4 address in 128 bits begins after this many.
const MAPPED: u8 = 96;

impl Network {
    /// Reads `address` or `address/bits`; none where bits are set that the prefix does not cover, since whoever wrote
    /// them meant something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let before = if address.is_ipv4() { MAPPED } else { 0 };
        let bits = match bits {
            None => 128,
            Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                before.checked_add(bits.parse().ok()?).filter(|bits| *bits <= 128)?
            }
            Some(_) => return None,
        };
        let first = number(address);
        (first & mask(bits) == first).then_some(Self { first, bits })
    }

    /// Whether it is everybody rather than somebody's network: all of IPv4, or more than anybody has.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        let in_ipv4 = self.bits >= MAPPED && Ipv6Addr::from(self.first).to_ipv4_mapped().is_some();
        let all_of_ipv4 = !in_ipv4 && self.contains(Ipv4Addr::UNSPECIFIED.into());
        all_of_ipv4 || self.bits < LARGEST + if in_ipv4 { MAPPED } else { 0 }
    }

    /// Whether this address lies in it. An IPv4 address that came over an IPv6 socket is still that IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & mask(self.bits) == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.first);
        match address.to_ipv4_mapped().filter(|_| self.bits >= MAPPED) {
            Some(address) => write!(out, "{address}/{}", self.bits - MAPPED),
            None => write!(out, "{address}/{}", self.bits),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_share_its_prefix() {
        let net = |text| Network::parse(text).unwrap();
        let ip = |text: &str| text.parse().unwrap();
        assert!(net("10.1.0.0/16").contains(ip("10.1.255.1")));
        assert!(net("10.1.0.0/16").contains(ip("::ffff:10.1.2.3")));
        assert!(!net("10.1.0.0/16").contains(ip("10.2.0.1")));
        assert!(net("10.0.0.5").contains(ip("10.0.0.5")) && !net("10.0.0.5").contains(ip("10.0.0.6")));
        assert!(net("2001:db8::/32").contains(ip("2001:db8:1::1")));
        assert!(!net("2001:db8::/32").contains(ip("10.0.0.5")));
        assert!(net("0.0.0.0/0").contains(ip("192.0.2.1")) && !net("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(net("::/0").contains(ip("192.0.2.1")));
        for text in ["10.1.0.0/16", "10.0.0.5/32", "2001:db8::/32", "::/0", "0.0.0.0/0"] {
            assert_eq!(net(text).to_string(), text);
        }
    }

    #[test]
    fn everybody_is_told_from_a_network() {
        for (text, everybody) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("::ffff:0:0/96", true),
            ("2000::/3", true),
            ("::/80", true),
            ("128.0.0.0/1", true),
            ("10.0.0.0/8", false),
            ("fd00::/8", false),
            ("10.0.0.5", false),
        ] {
            assert_eq!(Network::parse(text).unwrap().is_everybody(), everybody, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "10.1",
            "10.0.0.1/33",
            "10.0.0.1/16",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::1/129",
            "host",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
