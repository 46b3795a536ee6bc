//! `[admin]`: where operators and programs ask the door.
#![deny(clippy::disallowed_methods)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Admin, AdminTls, KeyPair, Listen};
use crate::certname::Certname;
use crate::document::{Document, Section};

/// Where the read-only admin door is, unless said otherwise.
pub const ADMIN_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9140);
/// Where the writing admin door is, unless said otherwise.
pub const ADMIN_UNIX: &str = "/run/stagedoor/admin.sock";
/// The most certnames that may ask from elsewhere: programs that change rosters, of which a site has a few.
const MOST_ALLOWED: usize = 100;

pub(super) fn admin(
    root: &mut Section<'_>,
    (listen, certificates): (&[Listen], &[KeyPair]),
    doc: &mut Document<'_>,
) -> Admin {
    let mut section = root.table("admin", doc);
    let http = match section.take("http", doc) {
        None => Some(ADMIN_HTTP),
        Some(entry) if entry.as_str() == Some("off") => None,
        Some(entry) => {
            let expected = "a loopback address and a port, such as \"127.0.0.1:9140\", or \"off\": this door asks for \
                            no name and tells those of your nodes; from elsewhere, use an SSH tunnel";
            entry.text(doc, expected, |text| {
                text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback())
            })
        }
    };
    let unix = match section.take("unix", doc) {
        None => Some(ADMIN_UNIX.into()),
        Some(entry) if entry.as_str() == Some("off") => None,
        Some(entry) => entry.socket(doc),
    };
    let tls = tls(&mut section, listen, doc);
    section.finish(doc);
    if tls.is_some() && certificates.is_empty() && !doc.is_wrong_below("certificate") {
        let expected = "at least one [[certificate]], which is what this door shows to whoever asks it";
        doc.contradiction(&["admin.tls.address"], expected);
    }
    Admin { http, unix, tls }
}

/// Where changes are taken from other machines; off where it is not written.
fn tls(admin: &mut Section<'_>, listen: &[Listen], doc: &mut Document<'_>) -> Option<AdminTls> {
    let mut section = admin.written("tls", doc)?;
    let expected = "an IP address and a port, such as \"0.0.0.0:9141\" or \"[::]:9141\"";
    let address = section.need("address", doc, expected).and_then(|entry| {
        let address = entry.text(doc, expected, |text| text.parse::<SocketAddr>().ok())?;
        // Port 0 asks the system for a free one, so it may be asked for more than once.
        if address.port() != 0 && listen.iter().any(|agents| agents.address == address) {
            entry.wrong(doc, "an address that no [[listen]] has: agents come in there");
        }
        Some(address)
    });
    let expected = "certnames, such as [\"enroller.example.com\"]";
    let allow = section.need("allow", doc, expected).and_then(|entry| {
        let expected = "a certname in lower case, such as \"enroller.example.com\"";
        let allow = entry.texts(doc, expected, MOST_ALLOWED, |text| Certname::parse(text).ok())?;
        if allow.is_empty() {
            entry.wrong(doc, "at least one certname; to let nobody ask, leave [admin.tls] out");
        }
        Some(allow)
    });
    section.finish(doc);
    Some(AdminTls { address: address?, allow: allow? })
}
