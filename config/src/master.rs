//! A compile master as it stands on the roster.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::num::NonZero;

use serde::{Deserialize, Serialize};

use crate::certname::Certname;

/// How a master is reached and protected. It is the one or the other, never both: a master that believes identity
/// headers must not be reachable by agents, and one that agents reach must not believe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Believes identity headers, and is reached by doors alone.
    Sealed {
        /// What keeps everybody else away.
        isolation: Isolation,
    },
    /// Ends agents' TLS itself and believes no headers; it is passed bytes.
    Open {
        /// How it is asked whether it is fit.
        check: Check,
    },
}

/// What keeps everybody but the doors away from a sealed master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// It accepts client certificates of the private door CA alone.
    #[default]
    DoorCa,
    /// A firewall. The master itself would answer anybody.
    Firewall,
}

/// How an open master, or what stands behind a passed port, is asked whether it is fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// TLS, its certificate, and its status.
    #[default]
    Status,
    /// Whether it accepts a connection: Puppet Enterprise 3.x has no status, and its Java 7 no cipher suite that the
    /// door speaks.
    Tcp,
}

impl Kind {
    /// Sealed by the door CA: what a master is unless said otherwise.
    pub const SEALED: Self = Self::Sealed { isolation: Isolation::DoorCa };

    /// The word for it in the roster and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealed { .. } => "sealed",
            Self::Open { .. } => "open",
        }
    }

    /// Whether requests are sent to it, with the agent's identity stated.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Sealed { .. })
    }
}

impl Isolation {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::DoorCa, Self::Firewall];

    /// The word for it in the roster and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DoorCa => "door-ca",
            Self::Firewall => "firewall",
        }
    }
}

impl Check {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Status, Self::Tcp];

    /// The word for it in settings, in the roster and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Tcp => "tcp",
        }
    }
}

/// What the roster lets a master do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Takes requests.
    Admitted,
    /// Is asked and tested as an admitted one and gets no request of any agent: only its canary's, so that it is known
    /// to compile before agents depend on it.
    Warm,
    /// Finishes what it has and takes nothing new.
    Draining,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 3] = [Self::Admitted, Self::Warm, Self::Draining];

    /// The word for it in the roster and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Warm => "warm",
            Self::Draining => "draining",
        }
    }
}

/// One compile master on the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// The name its certificate must carry, and the name operators use.
    pub certname: Certname,
    /// `host:port` to connect to; the host is looked up again as its record expires.
    pub address: String,
    /// How it is protected.
    pub kind: Kind,
    /// Whether it takes new requests.
    pub standing: Standing,
    /// The most bytes of request head its web server reads (Jetty's `request-header-max-size`; 8192 unless raised).
    pub header_limit: usize,
    /// How many catalogs it compiles at once; none where nobody said.
    pub jrubies: Option<NonZero<u16>>,
}

/// The most JRubies that one master may be said to have: far above any machine's memory, and a mistyped number is seen.
pub const MOST_JRUBIES: u16 = 512;

/// Jetty's own `request-header-max-size` where webserver.conf does not set one.
pub const JETTY_HEADER_LIMIT: usize = 8192;
/// The least and the most that a master's header limit may be: below, an agent's certificate alone would not fit.
pub const HEADER_LIMITS: std::ops::RangeInclusive<usize> = 4096..=1 << 20;

/// Whether a text can be connected to: an IP address or a host name, and a port other than 0.
#[must_use]
pub fn is_host_and_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let decimal = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let named = Certname::parse_host(&host.to_ascii_lowercase()).is_ok();
    decimal && port.parse::<u16>().is_ok_and(|port| port != 0) && named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_that_can_be_connected_to() {
        for good in ["10.0.0.1:8140", "[2001:db8::1]:8140", "Master.example.com:8140", "localhost:1"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            ":8140",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "a b:1",
            "http://host:1",
            "2001:db8::1:8140",
            "1.2.3.4:0",
            "host:8140\r\n",
            "h/x:1",
        ] {
            assert!(!is_host_and_port(bad), "{bad:?}");
        }
    }
}
