//! Serving one connection: read a request, record it, do as the script says or as the stand-in should.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustls_pki_types::CertificateDer;

use crate::answer::{Act, Answer, Script};
use crate::http1::Head;
use crate::listening::ServerConn;
use crate::record::{BODY_KEPT, Record, Seen};

/// What a stand-in is, apart from its connections.
pub(crate) trait Role: Send + Sync + 'static {
    /// What is held from before the body is read until the answer exists: a JRuby, where one is needed.
    type Held: Send;

    /// Waits for it.
    fn hold(&self, head: &Head) -> impl Future<Output = Self::Held> + Send;
    /// Answers a request; `None` says nothing for ever.
    fn answer(&self, seen: &Seen, body: &[u8]) -> impl Future<Output = Option<Answer>> + Send;
    /// Whether whole bodies are kept for [`Role::answer`] although the record keeps their beginning alone.
    fn wants_whole_body(&self, head: &Head) -> bool;
    /// The record.
    fn record(&self) -> &Record;
    /// Whether requests are recorded or counted alone.
    fn keeps_records(&self) -> bool;
    /// What is to be done badly.
    fn script(&self) -> &Script;
}

/// Serves a connection to its end.
pub(crate) async fn serve<R: Role>(role: Arc<R>, mut conn: ServerConn, id: usize) {
    let peer = peer(&mut conn);
    let shown = conn.stream().get_ref().1.server_name().map(str::to_owned);
    // An error is the peer going away or talking nonsense; a test sees either in what is missing from the record.
    while let Ok(Some(head)) = conn.head().await {
        if shown.as_deref().is_some_and(|name| !answers_to(name, &head)) {
            // As Jetty does, which believes that a client knows whom it speaks to.
            drop(Answer::text(400, "Host does not match SNI").send(&mut conn, head.method()).await);
            break;
        }
        match one(&*role, &mut conn, id, peer.clone(), head).await {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    conn.close().await;
}

/// Answers a request that came over no connection of ours, as one that came over one is answered; none where it is not.
pub(crate) async fn answer<R: Role>(
    role: &R,
    peer: Option<CertificateDer<'static>>,
    head: Head,
    body: &[u8],
) -> Option<Answer> {
    let act = role.script().take(&head);
    let mut seen = Seen::head_only(Instant::now(), usize::MAX, peer, head);
    seen.body = Bytes::copy_from_slice(&body[..body.len().min(BODY_KEPT)]);
    seen.body_length = body.len() as u64;
    let seen = role.record().push(seen);
    let answer = match act {
        Some(Act::Answer(answer)) => Some(answer),
        Some(_) => None,
        None => role.answer(&seen, body).await,
    };
    if let Some(answer) = &answer {
        seen.answered(answer.status);
    }
    answer
}

/// Whether `Host` is the name that the client's TLS showed.
fn answers_to(shown: &str, head: &Head) -> bool {
    head.get("host").is_some_and(|host| host.split(':').next() == Some(shown))
}

/// The certificate that the client showed.
fn peer(conn: &mut ServerConn) -> Option<CertificateDer<'static>> {
    let (_, tls) = conn.stream().get_ref();
    Some(tls.peer_certificates()?.first()?.clone().into_owned())
}

/// One request; whether the connection goes on.
async fn one<R: Role>(
    role: &R,
    conn: &mut ServerConn,
    id: usize,
    peer: Option<CertificateDer<'static>>,
    head: Head,
) -> std::io::Result<bool> {
    let act = role.script().take(&head);
    let method = head.method().to_owned();
    let framing = head.request_framing();
    let mut seen = Seen::head_only(Instant::now(), id, peer, head);
    if matches!(act, Some(Act::CloseUnread)) {
        role.record().push(seen);
        return Ok(false);
    }
    if let Some(Act::Early(answer)) = act {
        role.record().push(seen).answered(answer.status);
        answer.send(conn, &method).await?;
        // A server that answers early and then sits there is what leaks connections in hyper's client.
        std::future::pending::<()>().await;
        return Ok(false);
    }

    let held = role.hold(&seen.head).await;
    let whole = role.wants_whole_body(&seen.head);
    let mut kept = BytesMut::new();
    let mut keep = |piece: &[u8]| {
        let room = if whole { piece.len() } else { BODY_KEPT.saturating_sub(kept.len()).min(piece.len()) };
        kept.extend_from_slice(&piece[..room]);
    };
    let (length, trailers) = conn.body(framing, &mut keep).await?;
    let kept = kept.freeze();
    seen.body = kept.slice(..kept.len().min(BODY_KEPT));
    seen.body_length = length;
    seen.offences.extend(trailers.into_iter().map(|line| format!("trailer {line}")));

    let seen = if role.keeps_records() || !seen.offences.is_empty() {
        role.record().push(seen)
    } else {
        role.record().count_only();
        Arc::new(seen)
    };
    let answer = match act {
        Some(Act::Close) => return Ok(false),
        Some(Act::Hang) => None,
        Some(Act::Raw { bytes, close }) => {
            conn.write(&bytes).await?;
            seen.answered(Head { first: first_line(&bytes), ..Head::default() }.status());
            return Ok(!close);
        }
        Some(Act::Answer(answer)) => Some(answer),
        Some(Act::Slow(time)) => {
            tokio::time::sleep(time).await;
            role.answer(&seen, &kept).await
        }
        _ => role.answer(&seen, &kept).await,
    };
    let Some(answer) = answer else {
        std::future::pending::<()>().await;
        return Ok(false);
    };
    drop(held);
    seen.answered(answer.status);
    answer.send(conn, &method).await?;
    Ok(!answer.headers.iter().any(|(name, value)| *name == "Connection" && value == "close"))
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}
