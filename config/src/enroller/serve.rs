//! `[serve]`: where `stagedoor-enroller serve` is asked.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;

use super::{Serve, ServeTls};
use crate::certname::Certname;
use crate::document::{Document, Section};
use crate::proxy::KeyPair;

/// Where its socket is, unless said otherwise.
pub const SOCKET: &str = "/run/stagedoor/enroller.sock";
/// The most certnames that may ask: a few programs and people.
const MOST_ALLOWED: usize = 100;

pub(super) fn serve(
    root: &mut Section<'_>,
    identity: Option<&KeyPair>,
    doc: &mut Document<'_>,
) -> Option<Serve> {
    let mut section = root.table("serve", doc);
    let unix = match section.take("unix", doc) {
        None => Some(Some(SOCKET.into())),
        Some(entry) if entry.as_str() == Some("off") => Some(None),
        Some(entry) => entry.socket(doc).map(Some),
    };
    let tls = match section.written("tls", doc) {
        None => None,
        Some(mut section) => {
            let tls = tls(&mut section, doc);
            section.finish(doc);
            if identity.is_none() && !doc.is_wrong_below("identity") {
                doc.contradiction(
                    &["serve.tls.address"],
                    "[identity]: its certificate is what is shown there",
                );
            }
            tls
        }
    };
    section.finish(doc);
    Some(Serve { unix: unix?, tls })
}

fn tls(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<ServeTls> {
    let expected = "an IP address and a port, such as \"0.0.0.0:9142\"";
    let address = section.need("address", doc, expected);
    let address = address.and_then(|entry| entry.text(doc, expected, |text| text.parse::<SocketAddr>().ok()));
    let expected = "certnames, such as [\"deploy.example.com\"]";
    let allow = section.need("allow", doc, expected).and_then(|entry| {
        let allow = entry.texts(doc, expected, MOST_ALLOWED, |text| Certname::parse(text).ok())?;
        if allow.is_empty() {
            entry.wrong(doc, "at least one certname; to let nobody ask, leave [serve.tls] out");
        }
        Some(allow)
    });
    Some(ServeTls { address: address?, allow: allow? })
}
