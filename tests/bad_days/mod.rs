//! Bad days: servers that hang, connections that stall, agents that leave, and whoever wants to keep others out.
//!
//! | module | promises about |
//! |---|---|
//! | `crowd` | whoever wants all of what everybody needs |
//! | `mom` | what happens at the Master of Masters and does not spread |
//! | `refused` | refusals that arrive, and revocations that are in time |
//! | `silence` | servers that say nothing |

mod crowd;
mod mom;
mod refused;
mod silence;

use harness::agent::DIALS;
use harness::fleet::Fleet;
use harness::identity::Identity;
use harness::tls::{self, Versions};
use harness::wait::eventually;
use harness::wire::Wire;

/// A connection with this certificate, or with none.
async fn wire(fleet: &Fleet, identity: Option<&Identity>) -> Wire {
    let config = tls::client(&fleet.ca, identity, Versions::Both);
    Wire::open(fleet.door.address(), DIALS, config).await.unwrap()
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: puppet\r\n\r\n")
}

/// A request with a body of so many bytes.
fn with_body(method: &str, target: &str, length: usize) -> Vec<u8> {
    let mut request = head_of(method, target, length).into_bytes();
    request.resize(request.len() + length, b'x');
    request
}

fn head_of(method: &str, target: &str, length: usize) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: puppet\r\nContent-Length: {length}\r\n\r\n")
}

/// Waits until a sample of the door's metrics is at least this.
async fn counted(fleet: &Fleet, name: &str, labels: &[(&str, &str)], least: f64) {
    eventually(&format!("{name} {labels:?} is {least}"), async || {
        match fleet.door.metrics().await.sum(name, labels) {
            now if now >= least => Ok(()),
            now => Err(now.to_string()),
        }
    })
    .await;
}
