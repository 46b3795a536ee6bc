//! `[[listen]]`: where agents come in, and what becomes of their connections.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;

use super::{Behind, EndTls, Listen, Mode, ProxyVersion, Split};
use crate::certname::Certname;
use crate::document::{Document, Entry, Section};
use crate::master::{Check, is_host_and_port};
use crate::network::Network;

/// The most addresses that agents connect to; each costs every thread a socket.
const MOST_LISTEN: usize = 64;
/// The most backends of one passed port: as many as a roster of one site may hold in the field, and a check each.
const MOST_BACKENDS: usize = 100;
/// The most names that are passed; each is compared with every ClientHello.
const MOST_NAMES: usize = 100;
/// The most balancers or networks of them in front of one address; each is compared with every connection's source.
const MOST_NETWORKS: usize = 100;

/// Every `[[listen]]`.
pub(super) fn listen(root: &mut Section<'_>, doc: &mut Document<'_>) -> Vec<Listen> {
    let mut all: Vec<Listen> = Vec::new();
    let sections = root.tables("listen", doc);
    if sections.is_empty() && !doc.is_wrong("listen") {
        root.missing("listen", doc, "at least one [[listen]] with an `address`");
    }
    if sections.len() > MOST_LISTEN {
        doc.contradiction(&["listen"], format!("at most {MOST_LISTEN} [[listen]]"));
    }
    for mut section in sections.into_iter().take(MOST_LISTEN) {
        let expected = "an IP address and a port, such as \"0.0.0.0:8140\" or \"[::]:8140\"";
        let address = section.need("address", doc, expected).and_then(|entry| {
            Some((entry.text(doc, expected, |text| text.parse::<SocketAddr>().ok())?, entry))
        });
        let mode = mode(&mut section, doc);
        let accept_proxy_from = networks(&mut section, doc);
        let send_proxy = send_proxy(&mut section, doc);
        if let Some((address, entry)) = address {
            // Port 0 asks the system for a free one, so it may be asked for more than once.
            if address.port() != 0 && all.iter().any(|other| other.address == address) {
                entry.wrong(doc, "an address that no other [[listen]] has");
            }
            let listen = Listen { address, mode, accept_proxy_from, send_proxy };
            let passes = listen.passes_to_open_masters() || !listen.ends_tls();
            if listen.send_proxy.is_some() && !passes {
                let expected = "connections that are passed on: this address ends all of them";
                doc.contradiction(&[&section.key("send_proxy")], expected);
            }
            all.push(listen);
        }
        section.finish(doc);
    }
    all
}

/// What becomes of connections: every key is read, so that one which does not go with the mode is told as such.
fn mode(section: &mut Section<'_>, doc: &mut Document<'_>) -> Mode {
    const MODES: &str = "\"end-tls\" or \"pass\"";
    let passes = section
        .take("mode", doc)
        .and_then(|entry| {
            entry.text(doc, MODES, |text| ["end-tls", "pass"].contains(&text).then_some(text == "pass"))
        })
        .unwrap_or(false);
    let ends = [section.take("pass_old_tls", doc), section.take("pass_sni", doc), section.take("split", doc)];
    let behind = [section.take("backends", doc), section.take("check", doc)];
    let (beside, whose) = if passes { (&ends[..], "end-tls") } else { (&behind[..], "pass") };
    for entry in beside.iter().flatten() {
        entry.wrong(doc, format!("nothing: this key belongs to mode = \"{whose}\""));
    }
    if passes {
        let [backends, check] = behind;
        return Mode::Pass(self::behind(backends, check, doc));
    }
    let [old, sni, split] = ends;
    Mode::EndTls(EndTls {
        pass_old_tls: old.is_some_and(|entry| flag(&entry, doc)),
        pass_sni: sni.map(|entry| names(&entry, doc)).unwrap_or_default(),
        split: split
            .and_then(|entry| {
                entry.text(doc, "\"off\" or \"by-capacity\"", |text| match text {
                    "off" => Some(Split::Off),
                    "by-capacity" => Some(Split::ByCapacity),
                    _ => None,
                })
            })
            .unwrap_or_default(),
    })
}

fn behind(backends: Option<Entry<'_>>, check: Option<Entry<'_>>, doc: &mut Document<'_>) -> Behind {
    let Some(backends) = backends else {
        if let Some(entry) = check {
            entry.wrong(doc, "`backends` beside it: how an open master is checked stands in the roster");
        }
        return Behind::OpenMasters;
    };
    let one = "a host and a port, such as \"compile1.example.com:8142\"";
    let addresses = backends
        .texts(doc, one, MOST_BACKENDS, |text| is_host_and_port(text).then(|| text.to_ascii_lowercase()));
    match addresses.as_deref() {
        Some([]) => {
            backends
                .wrong(doc, "at least one of them, or no `backends` at all for the roster's open masters");
        }
        Some(all) if (1..all.len()).any(|at| all.iter().take(at).any(|one| Some(one) == all.get(at))) => {
            backends.wrong(doc, "each address once");
        }
        _ => {}
    }
    let expected = "\"tcp\" or \"status\"";
    let read = |text: &str| Check::ALL.into_iter().find(|check| check.name() == text);
    let check = check.and_then(|entry| entry.text(doc, expected, read)).unwrap_or(Check::Tcp);
    Behind::Backends { addresses: addresses.unwrap_or_default(), check }
}

fn names(entry: &Entry<'_>, doc: &mut Document<'_>) -> Vec<String> {
    let expected = "a host name, such as \"puppet-old.example.com\"";
    let names = entry.texts(doc, expected, MOST_NAMES, |text| {
        let name = text.to_ascii_lowercase();
        Certname::parse_host(&name).is_ok().then_some(name)
    });
    names.unwrap_or_default()
}

fn networks(section: &mut Section<'_>, doc: &mut Document<'_>) -> Vec<Network> {
    let expected =
        "an IP address or a network whose further bits are zero, such as \"10.0.0.5\" or \"10.1.0.0/16\"";
    let Some(entry) = section.take("accept_proxy_from", doc) else { return Vec::new() };
    let networks = entry.texts(doc, expected, MOST_NETWORKS, Network::parse).unwrap_or_default();
    if let Some(everybody) = networks.iter().find(|network| network.is_everybody()) {
        let expected = format!(
            "the balancers in front and nobody else: from {everybody} anybody could say that he is at another's address, \
             and each limit of one address would be none"
        );
        entry.wrong(doc, expected);
    }
    networks
}

fn send_proxy(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<ProxyVersion> {
    let entry = section.take("send_proxy", doc)?;
    entry
        .text(doc, "\"off\", \"v1\" or \"v2\"", |text| match text {
            "off" => Some(None),
            "v1" => Some(Some(ProxyVersion::V1)),
            "v2" => Some(Some(ProxyVersion::V2)),
            _ => None,
        })
        .flatten()
}

fn flag(entry: &Entry<'_>, doc: &mut Document<'_>) -> bool {
    let yes = entry.as_bool();
    if yes.is_none() {
        entry.wrong(doc, "true or false");
    }
    yes.unwrap_or(false)
}
