//! A compile master as it stands on the roster.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

use crate::certname::Certname;

/// How a master is reached and protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Trusts identity headers, and accepts connections that show the door's client certificate alone.
    Sealed,
}

/// What the roster lets a master do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Takes requests.
    Admitted,
    /// Finishes what it has and takes nothing new.
    Draining,
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
}

/// Jetty's own `request-header-max-size` where webserver.conf does not set one.
pub const JETTY_HEADER_LIMIT: usize = 8192;
