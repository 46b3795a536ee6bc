//! TLS as a server on Java 7 speaks it with Puppet Enterprise 3.x: RSA key exchange and AES128-SHA, and nothing that a
//! modern client offers. A client that offers it gets the beginning of a handshake and no more; any other is refused with
//! an alert, as the real one does.

use std::io;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::listening::Counts;

/// TLS_RSA_WITH_AES_128_CBC_SHA.
pub const AES128_SHA: [u8; 2] = [0x00, 0x2f];
/// A fatal alert `handshake_failure`.
const REFUSAL: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

/// Reads a ClientHello and answers it; an error is the client's going away.
pub(crate) async fn speak(mut stream: TcpStream, counts: &Counts) {
    let answered = async {
        let mut head = [0; 5];
        stream.read_exact(&mut head).await?;
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut hello).await?;
        if offers(&hello, AES128_SHA) {
            counts.handshakes.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&server_hello()).await?;
        } else {
            stream.write_all(&REFUSAL).await?;
        }
        stream.shutdown().await
    };
    let answered: io::Result<()> = answered.await;
    // Whoever was refused may have gone before that was said.
    answered.ok();
}

/// Whether a ClientHello, without its record's head, offers this cipher suite.
fn offers(hello: &[u8], suite: [u8; 2]) -> bool {
    // Type and length, version, random; then the session's identifier.
    let Some(&session) = hello.get(38) else { return false };
    let at = 39 + usize::from(session);
    let Some(&[high, low]) = hello.get(at..at + 2) else { return false };
    let suites = hello.get(at + 2..).unwrap_or_default();
    let length = usize::from(u16::from_be_bytes([high, low])).min(suites.len());
    suites[..length].chunks(2).any(|one| one == suite)
}

/// TLS 1.0, that suite, no session.
fn server_hello() -> Vec<u8> {
    let body = [&[3, 1][..], &[0x7a; 32], &[0], &AES128_SHA, &[0]].concat();
    let length = u8::try_from(body.len()).expect("it is short");
    [&[22, 3, 1, 0, length + 4, 2, 0, 0, length][..], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_found_among_those_that_a_hello_offers() {
        let hello = |suites: &[u8]| {
            let length = u8::try_from(suites.len()).unwrap();
            [&[1, 0, 0, 0, 3, 1][..], &[0x5a; 32], &[0, 0, length], suites, &[1, 0]].concat()
        };
        assert!(offers(&hello(&[0xc0, 0x2f, 0, 0x2f]), AES128_SHA));
        // Bytes across two suites are none.
        assert!(!offers(&hello(&[0x13, 0, 0x2f, 1]), AES128_SHA));
        assert!(!offers(&hello(&[]), AES128_SHA) && !offers(&[1, 0], AES128_SHA));
    }
}
