//! Knocking at a master sealed by the door CA, by each way that would let agents in:
//!
//! - without a certificate: `client-auth` is no longer `need`;
//! - with a certificate of the Puppet CA, as every agent has one: `ssl-ca-cert` is the Puppet CA's again, and each
//!   agent may say it is another;
//! - without TLS: `webserver.conf` has `port` instead of `ssl-port`, as Puppet's own words on external TLS have it.
//!
//! The request is light and says it is another node. It carries no secret: whoever impersonates the master learns a
//! certificate that the door shows to everybody. A refusal is an alert, and counts only where the master itself has proven
//! its name and has asked for a certificate; a connection that merely ends may have ended for any reason.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use rustls_pki_types::{ServerName, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::trust::{Refused, Trust};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::Member;
use super::super::seal::Outcome;
use super::verdict::{Try, of_all, of_one_address};
use crate::door::Door;
use crate::observe::log::chain;
use crate::tls::Stranger;

/// How much of an answer is read: its status line. One byte would be answer enough.
const ANSWER: usize = 64;
/// Addresses tried at once over all masters, three files each: the bounds keep 256 files for all that is beside agents.
static AT_ONCE: Semaphore = Semaphore::const_new(32);
/// The first byte of a TLS alert: how a TLS server, Jetty among them, refuses clear text.
const ALERT: u8 = 0x15;

/// What all tries of one test share.
struct Knock {
    name: ServerName<'static>,
    certname: Certname,
    trust: Arc<Trust>,
    /// A certificate of the Puppet CA. None where no address ends TLS: no agent's request comes in there. One that a
    /// master of the Puppet CA's would refuse for its own faults says nothing of agents'.
    agents: Result<Option<Arc<CertifiedKey>>, Refused>,
    request: String,
    /// For a connection, and again for what follows.
    patience: Duration,
}

/// Knocks at every address by every way at once.
pub(super) async fn at(
    door: &Door,
    member: &Member,
    addresses: &[SocketAddr],
    patience: Duration,
) -> Outcome {
    let snapshot = door.snapshot.load_full();
    let certname = member.peer.certname.clone();
    let knock = Arc::new(Knock {
        name: member.peer.name().clone(),
        trust: Arc::clone(&snapshot.trust),
        agents: snapshot.agents.like_an_agents(UnixTime::now()).map(Option::<&Arc<_>>::cloned),
        request: request(&certname),
        certname,
        patience,
    });
    // Ends with this test, whatever becomes of it.
    let mut tries = JoinSet::new();
    for address in addresses.iter().copied() {
        let knock = Arc::clone(&knock);
        tries.spawn(async move {
            let _place = AT_ONCE.acquire().await;
            knock.at(address).await
        });
    }
    let died = |_| Try::Unclear("a try did not come to its end".to_owned());
    let mut ended = Vec::with_capacity(addresses.len());
    while let Some(one) = tries.join_next().await {
        ended.push(one.unwrap_or_else(died));
    }
    of_all(ended)
}

fn request(certname: &Certname) -> String {
    format!(
        "GET /status/v1/simple HTTP/1.1\r\nHost: {certname}\r\nX-Client-Verify: SUCCESS\r\n\
         X-Client-DN: CN=stagedoor-outsider\r\nUser-Agent: stagedoor (test of the seal)\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

/// How a try ended.
enum End {
    Bytes(Vec<u8>),
    /// A TLS alert, which is how TLS refuses.
    Alert,
    /// EOF or a reset without a word: a refusal, or a server that is being stopped.
    Gone,
    /// Anything else.
    Strange(io::Error),
}

impl End {
    fn of(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        let alert = || {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            matches!(inner, Some(rustls::Error::AlertReceived(_)))
        };
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof => Self::Gone,
            _ if alert() => Self::Alert,
            _ => Self::Strange(error),
        }
    }
}

impl Knock {
    async fn at(&self, address: SocketAddr) -> Try {
        let as_agent = async {
            const HOW: &str = "with a certificate of the Puppet CA";
            match self.agents.clone() {
                Ok(shown) => Some(self.with_tls(address, Some(shown?), HOW).await),
                Err(why) => {
                    let why = chain(&why);
                    Some(Try::Unclear(format!(
                        "{HOW}: the door's own, under [[certificate]], is none for clients: {why}"
                    )))
                }
            }
        };
        let (bare, as_agent, clear) = tokio::join!(
            self.with_tls(address, None, "without a certificate"),
            as_agent,
            self.in_clear(address)
        );
        of_one_address([Some(bare), as_agent, Some(clear)].into_iter().flatten())
    }

    async fn with_tls(&self, address: SocketAddr, shown: Option<Arc<CertifiedKey>>, how: &str) -> Try {
        let stranger = match Stranger::new(Arc::clone(&self.trust), shown) {
            Ok(stranger) => stranger,
            Err(error) => return Try::Unclear(chain(&error)),
        };
        let stream = match self.connect(address).await {
            Ok(stream) => stream,
            Err(unreached) => return unreached,
        };
        let knocked = async {
            let connector = TlsConnector::from(Arc::clone(&stranger.config));
            match connector.connect(self.name.clone(), stream).await {
                // Whoever refuses says so first. What is written to one who has ended would be answered by a reset, and
                // his alert be lost by it.
                Ok(mut tls) => match timeout(self.patience / 4, hear(&mut tls)).await {
                    Ok(end) => (true, end),
                    Err(_silent) => (true, ask(&mut tls, &self.request).await),
                },
                Err(error) => (false, End::of(error)),
            }
        };
        let knocked = timeout(self.patience, knocked).await;
        match knocked {
            Ok((_, End::Bytes(bytes))) => Try::Answered(format!("{how} it answers {}", status(&bytes))),
            // Nobody is refused for want of a certificate that nobody asked for.
            Ok((true, _)) if !stranger.was_asked() => {
                Try::Answered(format!("{how}: TLS is agreed on and no certificate asked for"))
            }
            Ok((_, End::Strange(error))) => Try::Unclear(format!("{how}: {}", chain(&error))),
            Ok((_, End::Gone)) => Try::Unclear(format!("{how}: the connection ended without a word")),
            Ok((_, End::Alert)) if !stranger.was_asked() => {
                Try::Unclear(format!("{how}: it was refused before a certificate was asked for"))
            }
            Ok((_, End::Alert)) if !stranger.met_the_master() => {
                Try::Unclear(format!("{how}: who refused did not prove to be {}", self.certname))
            }
            Ok((_, End::Alert)) => Try::Refused,
            Err(_elapsed) => Try::Unclear(format!("{how}: neither answer nor refusal in time")),
        }
    }

    async fn in_clear(&self, address: SocketAddr) -> Try {
        let mut stream = match self.connect(address).await {
            Ok(stream) => stream,
            Err(unreached) => return unreached,
        };
        match timeout(self.patience, ask(&mut stream, &self.request)).await {
            Ok(End::Bytes(bytes)) if bytes.first() == Some(&ALERT) => Try::Refused,
            Ok(End::Bytes(bytes)) => Try::Answered(format!("without TLS it answers {}", status(&bytes))),
            Ok(End::Gone | End::Alert) => Try::Refused,
            Ok(End::Strange(error)) => Try::Unclear(format!("without TLS: {}", chain(&error))),
            Err(_elapsed) => Try::Unclear("without TLS: neither answer nor refusal in time".to_owned()),
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, Try> {
        match timeout(self.patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Try::Unreached(format!("cannot connect to {address}: {error}"))),
            Err(_elapsed) => Err(Try::Unreached(format!("no connection to {address} in time"))),
        }
    }
}

/// Sends the request and reads until there is something or the end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> End {
    // A master that refuses may have ended the connection already; what it said before that can still be read.
    let written = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    drop(written.await);
    hear(stream).await
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> End {
    let mut bytes = vec![0; ANSWER];
    match stream.read(&mut bytes).await {
        Ok(0) => End::Gone,
        Ok(count) => {
            bytes.truncate(count);
            End::Bytes(bytes)
        }
        Err(error) => End::of(error),
    }
}

/// The status of an answer; what is no HTTP is an answer, too.
fn status(bytes: &[u8]) -> &str {
    let number = bytes.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let number = number.filter(|digits| digits.iter().all(u8::is_ascii_digit));
    number.and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("something that is no HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_named_by_its_status_and_never_repeated() {
        assert_eq!(status(b"HTTP/1.1 403 Forbidden\r\n"), "403");
        for other in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 4\x1b[0m", b"220 mail", b"HTTP/2 200 OK"] {
            assert_eq!(status(other), "something that is no HTTP");
        }
    }
}
