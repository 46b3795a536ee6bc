//! One request to the running door, over the socket of `admin.unix`.
//!
//! HTTP/1.1 by hyper over a unix stream. The answer is bounded in time and size, so that a wrong program behind the
//! socket cannot hold the command or fill its memory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stagedoor_config::admin::Refusal;
use tokio::net::UnixStream;

/// Longer than the door takes for any answer of its own.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than it takes for an answer that masters are waited for.
const FOR_MASTERS: Duration = Duration::from_secs(130);
/// A roster of a thousand masters has some 300 kB.
const LARGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nothing listens.
    #[error("{}: expected a door to listen there: is stagedoor running, and does `admin.unix` in its settings name this socket?", .0.display())]
    Nobody(PathBuf, #[source] io::Error),
    /// The socket's mode does not let this user in.
    #[error("{}: expected a socket that this user may write to: become a member of its group, or use sudo", .0.display())]
    Denied(PathBuf, #[source] io::Error),
    /// It listens and does not answer.
    #[error("{}: expected an answer within {} s: see the door's log", .0.display(), .1.as_secs())]
    Late(PathBuf, Duration),
    /// What listens is no door.
    #[error("{}: expected the answer of a door: does another program listen there, or another version?", .0.display())]
    Strange(PathBuf, #[source] anyhow::Error),
    /// The door will not.
    #[error("{}; {}", .0.error, .0.hint)]
    Refused(Refusal),
}

/// Asks, and reads the answer as a `T`, which ignores fields that it does not know.
///
/// # Errors
/// Says why there is no such answer; a refusal is the door's own words.
pub(super) fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, NoAnswer> {
    let (status, body) = answer(socket, method, path, body, PATIENCE)?;
    if status.is_success() { read(socket, &body) } else { Err(refused(socket, status, &body)) }
}

/// Has the door ask masters. Where one fails, the answer is a `T` all the same: it tells which.
///
/// # Errors
/// Says why there is no such answer; a refusal is the door's own words.
pub(super) fn ask_masters<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &impl Serialize,
) -> Result<T, NoAnswer> {
    let (status, body) = answer(socket, Method::POST, path, Some(body), FOR_MASTERS)?;
    let told = status.is_success() || status == StatusCode::BAD_GATEWAY;
    if told { read(socket, &body) } else { Err(refused(socket, status, &body)) }
}

fn read<T: DeserializeOwned>(socket: &Path, body: &[u8]) -> Result<T, NoAnswer> {
    serde_json::from_slice(body).map_err(|error| NoAnswer::Strange(socket.to_owned(), error.into()))
}

fn refused(socket: &Path, status: StatusCode, body: &[u8]) -> NoAnswer {
    match serde_json::from_slice(body) {
        Ok(refusal) => NoAnswer::Refused(refusal),
        Err(_) => NoAnswer::Strange(socket.to_owned(), anyhow::anyhow!("status {status}")),
    }
}

fn answer(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
    patience: Duration,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let strange = |error: anyhow::Error| NoAnswer::Strange(socket.to_owned(), error);
    let body = match body {
        Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|error| strange(error.into()))?),
        None => Bytes::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| strange(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| strange(error.into()))?;
    runtime.block_on(async {
        match tokio::time::timeout(patience, exchange(socket, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Late(socket.to_owned(), patience)),
        }
    })
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), NoAnswer> {
    let strange = |error: anyhow::Error| NoAnswer::Strange(socket.to_owned(), error);
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => NoAnswer::Denied(socket.to_owned(), error),
        _ => NoAnswer::Nobody(socket.to_owned(), error),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| strange(error.into()))?;
    // Ends with the runtime; what goes wrong on it is told by the sender.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| strange(error.into()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| strange(anyhow::Error::from_boxed(error)))?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread::{JoinHandle, spawn};

    use stagedoor_config::admin::{Move, RosterView};
    use stagedoor_config::certname::Certname;

    use super::*;

    struct Listening {
        _folder: tempfile::TempDir,
        socket: PathBuf,
        asked: JoinHandle<String>,
    }

    /// Something on a socket that gives one answer whatever it is asked.
    fn listening(answer: &'static str) -> Listening {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 4096];
            while !asked.ends_with(b"}") {
                let count = stream.read(&mut piece).unwrap();
                asked.extend_from_slice(&piece[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        Listening { _folder: folder, socket, asked }
    }

    fn drain(socket: &Path) -> Result<RosterView, NoAnswer> {
        let body = Move { certname: Certname::parse("c1").unwrap(), generation: Some(3) };
        ask(socket, Method::POST, "/v1/roster/drain", Some(&body))
    }

    #[test]
    fn a_change_is_asked_for_and_its_answer_read() {
        let there =
            listening("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"generation\":4,\"masters\":[]}");
        assert_eq!(drain(&there.socket).unwrap().generation, 4);
        let asked = there.asked.join().unwrap();
        assert!(asked.starts_with("POST /v1/roster/drain HTTP/1.1\r\nhost: localhost\r\n"), "{asked}");
        assert!(asked.ends_with(r#"{"certname":"c1","generation":3}"#), "{asked}");
    }

    #[test]
    fn a_refusal_is_told_in_the_doors_words() {
        let there = listening(
            "HTTP/1.1 409 Conflict\r\ncontent-length: 29\r\n\r\n{\"error\":\"moved\",\"hint\":\"go\"} ",
        );
        let told = drain(&there.socket).unwrap_err();
        assert!(matches!(told, NoAnswer::Refused(_)), "{told:?}");
        assert_eq!(told.to_string(), "moved; go");
    }

    #[test]
    fn whatever_is_no_door_is_told_with_its_socket() {
        for answer in
            ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "HTTP/1.1 500 x\r\n\r\n", "220 mail\r\n", ""]
        {
            let there = listening(answer);
            let told = drain(&there.socket).unwrap_err();
            assert!(matches!(told, NoAnswer::Strange(..)), "{answer:?}: {told:?}");
            assert!(told.to_string().contains("admin.sock"));
        }
    }

    #[test]
    fn a_door_that_does_not_run_is_told() {
        let told = drain(Path::new("/nowhere/admin.sock")).unwrap_err();
        assert!(matches!(told, NoAnswer::Nobody(..)), "{told:?}");
        assert!(told.to_string().contains("is stagedoor running"));
    }
}
