//! What is counted: one unit of work that an agent gives a proxy.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use harness::identity::KeyKind;

use crate::agent::SERVER;
use crate::master::{ANSWER, FILE, METADATA};

/// A report's body.
const REPORT: usize = 300_000;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// A request for 500 bytes over a connection that stays open: most of an agent's requests.
    Metadata,
    /// A request for 200 kB over a connection that stays open.
    File,
    /// 300 kB sent as a report, 100 kB answered, over a connection that stays open. No catalog: all agents are one here, and
    /// the door has one of an agent's compiled at a time.
    Report,
    /// A connection with a full handshake and a client certificate with an RSA-4096 key, Puppet's default, one small
    /// request, and its end.
    Handshake,
    /// The same with a P-256 key.
    HandshakeP256,
    /// The same with a P-256 key and a certificate that the program has not seen before.
    HandshakeNew,
}

impl Unit {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Metadata => "small request, 500 B answered",
            Self::File => "200 kB answered",
            Self::Report => "300 kB sent, 100 kB answered",
            Self::Handshake => "handshake, RSA-4096 client, and a request",
            Self::HandshakeP256 => "handshake, P-256 client, and a request",
            Self::HandshakeNew => "the same, an agent never seen before",
        }
    }

    /// Whether each unit takes a connection of its own.
    pub(crate) const fn connects(self) -> bool {
        matches!(self, Self::Handshake | Self::HandshakeP256 | Self::HandshakeNew)
    }

    /// How many certificates one sample uses up, where each is shown once.
    pub(crate) const fn newcomers(self) -> usize {
        if matches!(self, Self::HandshakeNew) { 400 } else { 0 }
    }

    /// The agent's key.
    pub(crate) const fn key(self) -> KeyKind {
        match self {
            Self::HandshakeP256 | Self::HandshakeNew => KeyKind::P256,
            _ => KeyKind::Rsa4096,
        }
    }

    /// How long one sample lasts, so that its CPU time is far above what the kernel's clock and a probe in between
    /// can blur. Handshakes with RSA keys are bound by the agents' own signatures.
    pub(crate) const fn sample(self) -> Duration {
        match self {
            Self::Handshake => Duration::from_millis(2000),
            Self::HandshakeP256 => Duration::from_millis(1500),
            // Ends earlier, when every certificate has been shown.
            Self::HandshakeNew => Duration::from_secs(10),
            _ => Duration::from_millis(1000),
        }
    }

    /// The request, as a Puppet 7 agent writes it, and the bytes that are answered.
    pub(crate) fn request(self, certname: &str) -> (Bytes, usize) {
        match self {
            Self::Metadata | Self::Handshake | Self::HandshakeP256 | Self::HandshakeNew => {
                let path = "/puppet/v3/file_metadata/modules/base/etc/profile.d/base.sh?links=manage\
                            &checksum_type=sha256&source_permissions=ignore&environment=production";
                (get(path), METADATA)
            }
            Self::File => (get("/puppet/v3/file_content/modules/base/big.tar?environment=production"), FILE),
            Self::Report => {
                let path = format!("/puppet/v3/report/{certname}?environment=production");
                let length = format!("Content-Type: application/json\r\nContent-Length: {REPORT}\r\n");
                ([head("PUT", &path, &length).as_bytes(), &[b'x'; REPORT]].concat().into(), ANSWER)
            }
        }
    }
}

/// A GET for a path.
pub(crate) fn get(path: &str) -> Bytes {
    head("GET", path, "").into()
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nX-Puppet-Version: 7.23.0\r\n\
         User-Agent: Puppet/7.23.0 Ruby/3.1.2-p20 (x86_64-linux)\r\nAccept: application/json, text/pson\r\n\
         {more}Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nHost: {SERVER}:8140\r\n\r\n"
    )
}
