//! Where a master's name points, kept fresh beside the path of requests.
//!
//! A connection never waits for a name server: it takes the addresses that are known. They are looked up again when
//! their record expires, and the last good answer stays while the name server is silent, since a master does not
//! move because DNS is down. `/etc/hosts` and `/etc/resolv.conf` are read at each look-up, so a change there needs
//! no reload.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use tokio::sync::watch;

/// Addresses of one name; empty until the first answer.
pub(crate) type Addresses = Arc<[SocketAddr]>;

/// A record that says zero would have us ask with every connection.
const SHORTEST: Duration = Duration::from_secs(5);
/// `/etc/hosts` names no time to live; a minute is how long an operator would wait for a change there.
const LONGEST: Duration = Duration::from_secs(60);
/// One question to one name server; with two tries a dead one costs four seconds, not hickory's fifteen.
const ONE_QUESTION: Duration = Duration::from_secs(2);

/// Looks `address` (`host:port`) up for as long as somebody listens.
pub(crate) async fn keep(address: String, known: watch::Sender<Addresses>) {
    let Some((host, port)) = split(&address) else {
        // The roster and the settings were checked; an address without a port cannot come this far.
        tracing::error!(%address, "address has no port: nothing can be looked up, correct the roster");
        return;
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        let _nobody_listens = known.send(Arc::from([SocketAddr::new(ip, port)]));
        return;
    }
    let mut silent = false;
    loop {
        let pause = match look_up(host, port).await {
            Ok((addresses, valid)) => {
                if silent {
                    tracing::info!(host, "name resolves again");
                }
                silent = false;
                known.send_if_modified(|old| {
                    let changed = **old != *addresses;
                    if changed {
                        tracing::info!(host, ?addresses, "addresses changed");
                        *old = addresses;
                    }
                    changed
                });
                valid
            }
            Err(error) => {
                if !silent {
                    tracing::warn!(host, %error, kept = known.borrow().len(), "name does not resolve; the last known addresses stay");
                }
                silent = true;
                SHORTEST
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = known.closed() => return,
        }
    }
}

/// `host:port` in two, an IPv6 address without its brackets.
pub(crate) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

async fn look_up(host: &str, port: u16) -> Result<(Addresses, Duration), hickory_resolver::net::NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().timeout = ONE_QUESTION;
    let found = builder.build()?.lookup_ip(host).await?;
    let mut addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    // Name servers rotate their answers; sorted, the same set is the same value and no change is seen where none is.
    addresses.sort_unstable();
    addresses.dedup();
    let valid = found.valid_until().saturating_duration_since(Instant::now());
    Ok((addresses.into(), valid.clamp(SHORTEST, LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(split("add.master.example.com:8140"), Some(("add.master.example.com", 8140)));
        assert_eq!(split("[::1]:8140"), Some(("::1", 8140)));
        assert_eq!(split("127.0.0.12:1"), Some(("127.0.0.12", 1)));
        assert_eq!(split("nowhere"), None);
    }

    #[tokio::test]
    async fn a_name_in_etc_hosts_is_found_and_stays() {
        let (known, mut listener) = watch::channel(Addresses::from([]));
        let task = tokio::spawn(keep("localhost:8140".to_owned(), known));
        let found = listener.wait_for(|a| !a.is_empty()).await.expect("the task lives").clone();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 8140), "{found:?}");
        drop(listener);
        task.await.expect("it ends when nobody listens");
    }
}
