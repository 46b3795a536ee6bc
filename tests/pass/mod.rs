//! Connections that are passed, byte for byte.
//!
//! | module | promises about |
//! |---|---|
//! | `ways` | which connection is passed and which is ended |
//! | `bytes` | what happens to the bytes, and what is not passed at all |
//! | `behind` | open masters and backends: who gets a connection |
//! | `balancers` | the PROXY protocol, in and out |

mod balancers;
mod behind;
mod bytes;
mod ways;

use std::net::SocketAddr;

use harness::agent::DIALS;
use harness::ca::PuppetCa;
use harness::fleet::{Fleet, Site};
use harness::identity::Identity;
use harness::raw::Raw;
use harness::tls::{self, Versions};
use harness::wait::eventually;
use serde_json::Value;

const ENVIRONMENTS: &str = "GET /puppet/v3/environments HTTP/1.1\r\nHost: puppet\r\n\r\n";

/// What a current agent says first.
fn hello(ca: &PuppetCa) -> Vec<u8> {
    let config = tls::client(ca, None, Versions::Both);
    let mut client = rustls::ClientConnection::new(config, tls::server_name(DIALS)).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// What an agent of Puppet Enterprise 3.7 says first: TLS 1.0, and no extensions.
pub(crate) fn old_hello() -> Vec<u8> {
    let body = [&[3, 1][..], &[0x5a; 32], &[0], &[0, 4, 0, 0x2f, 0, 0x35], &[1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// A site with one sealed master, and an address that passes to a raw backend.
async fn passing(change: impl FnOnce(&mut harness::door::Papers)) -> (Fleet, SocketAddr, Raw) {
    let raw = Raw::start().await;
    let mut site = Site::with_masters(1);
    let address = site.papers.passing(&format!("backends = [\"{}\"]", raw.address()));
    let fleet = site.change(change).open().await;
    (fleet, address, raw)
}

async fn counted(fleet: &Fleet, name: &str, labels: &[(&str, &str)], least: f64) {
    eventually(&format!("{name} {labels:?} is {least}"), async || {
        match fleet.door.metrics().await.sum(name, labels) {
            now if now >= least => Ok(()),
            now => Err(now.to_string()),
        }
    })
    .await;
}

/// Waits until the access log has a line of a passed connection that ended so.
async fn line(fleet: &Fleet, outcome: &str) -> Value {
    eventually(&format!("a line of a passed connection that is {outcome}"), async || {
        let text = std::fs::read_to_string(fleet.door.papers().file("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut passed = lines.filter(|line| line["way"] == "pass");
        passed.find(|line| line["outcome"] == outcome).ok_or(text)
    })
    .await
}

/// The name of the master whose certificate a new connection sees, and what it answers.
async fn asked(fleet: &Fleet, who: &Identity, door: SocketAddr, from: Option<[u8; 4]>) -> (u16, Value) {
    let config = tls::client(&fleet.ca, Some(who), Versions::Both);
    let wire = match from {
        None => harness::wire::Wire::open(door, DIALS, config).await,
        Some(ip) => harness::wire::Wire::open_from((ip, 0).into(), door, DIALS, config).await,
    };
    let reply = wire.unwrap().ask(ENVIRONMENTS).await.unwrap();
    (reply.status(), serde_json::from_slice(&reply.body).unwrap_or_default())
}
