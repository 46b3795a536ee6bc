//! Raw bytes in, raw bytes out: what hyper alone would let through or get wrong, and what the door does about it.
//!
//! | module | promises about |
//! |---|---|
//! | `target` | methods, hosts and paths that never leave the door |
//! | `framing` | where a body ends: lengths, chunks, trailers, line ends |
//! | `heads` | headers both ways, and how large a head may be |
//! | `exchange` | the order of things: 100 Continue, early answers, what is asked again and what never |

mod exchange;
mod framing;
mod heads;
mod target;

use harness::agent::DIALS;
use harness::door::Papers;
use harness::fleet::{Fleet, Site};
use harness::identity::Identity;
use harness::master::Master;
use harness::mom::Mom;
use harness::tls::{self, Versions};
use harness::wait::eventually;
use harness::wire::Wire;

/// A request that any verified agent may make of any master.
const NODE: &str = "/puppet/v3/node/web01.example.com?environment=production";

/// A door with one master behind it, and one agent's certificate.
struct Stage {
    fleet: Fleet,
    web01: Identity,
}

impl Stage {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Papers)) -> Self {
        let fleet = Site::with_masters(1).change(change).open().await;
        let web01 = fleet.ca.agent("web01.example.com");
        Self { fleet, web01 }
    }

    fn master(&self) -> &Master {
        self.fleet.master(0)
    }

    fn mom(&self) -> &Mom {
        &self.fleet.mom
    }

    /// A connection of a verified agent.
    async fn agent(&self) -> Wire {
        self.wire(Some(&self.web01)).await
    }

    /// A connection of somebody without a certificate.
    async fn stranger(&self) -> Wire {
        self.wire(None).await
    }

    async fn wire(&self, identity: Option<&Identity>) -> Wire {
        let config = tls::client(&self.fleet.ca, identity, Versions::Both);
        Wire::open(self.fleet.door.address(), DIALS, config).await.unwrap()
    }

    /// No request of a client has left the door.
    fn nobody_was_asked(&self) {
        for record in [self.master().record(), self.mom().record()] {
            let asked: Vec<String> = record.of_agents().iter().map(|seen| seen.head.first.clone()).collect();
            assert_eq!(asked, Vec::<String>::new());
        }
    }

    /// Waits until one of the door's numbers is so.
    async fn counts(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        eventually(name, async || match self.fleet.door.metrics().await.sum(name, labels) {
            sum if (sum - wanted).abs() < 0.5 => Ok(()),
            sum => Err(format!("{sum}")),
        })
        .await;
    }

    /// How many requests the door believes the master has.
    async fn requests_at_the_master(&self) -> u64 {
        self.fleet.door.master(self.master().name()).await["in_flight"].as_u64().unwrap()
    }

    /// Waits until the door has closed what it cannot use.
    async fn connections_to_the_master_are_at_most(&self, most: usize) {
        eventually("the door closes what it cannot use", async || {
            match self.master().listening().counts().open() {
                open if open <= most => Ok(()),
                open => Err(format!("{open} connections open")),
            }
        })
        .await;
    }
}

fn get(target: &str) -> String {
    get_with(target, "")
}

/// A GET with further header lines, each with its line end.
fn get_with(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: puppet\r\n{lines}\r\n")
}
