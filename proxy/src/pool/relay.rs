//! A master's own status, for monitoring that a sealed master no longer answers.
//!
//! `GET /status/v1/services` and nothing else: read-only, at one of Puppet's three levels, with no word of whoever
//! asks passed on and no identity stated. At `debug` it holds what the master measures of its JVM, its JRubies and its
//! requests. `/metrics/v2` is not relayed: the packaged auth.conf refuses it to everybody, and it can read any MBean.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use stagedoor_config::master::{Check, Kind, Master};
use tokio::time::timeout;

use super::question::{Question, Questions};
use crate::admin::Level;
use crate::door::Door;

/// Puppet Server waits longer for its own parts, monitoring does not wait so long for Puppet Server.
const PATIENCE: Duration = Duration::from_secs(10);
/// A master with sixteen JRubies at work has some 50 kB; each waiting request adds a few hundred bytes.
const MOST: usize = 4 << 20;

/// What a master says of itself.
#[derive(Debug, Clone)]
pub struct Status {
    /// 200, or 503 where one of its services is not running.
    pub status: StatusCode,
    /// As it came.
    pub content_type: HeaderValue,
    /// JSON.
    pub body: Bytes,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoStatus {
    /// It is of a kind that has none.
    #[error("it is checked by tcp alone, so it has no status that the door could read")]
    TcpAlone,
    /// It left the roster meanwhile.
    #[error("it is no longer on the roster")]
    Gone,
    /// It took too long.
    #[error("no status within {} s", PATIENCE.as_secs())]
    Late,
    /// It could not be asked.
    #[error(transparent)]
    Unanswered(Box<dyn std::error::Error + Send + Sync>),
    /// It answered something else.
    #[error("it answered {0} to /status/v1/services")]
    Other(StatusCode),
    /// It answered, and no JSON.
    #[error("its status is no JSON")]
    NoJson,
}

/// Asks a master how it is.
pub(crate) async fn relay(door: &Door, master: &Master, level: Level) -> Result<Status, NoStatus> {
    timeout(PATIENCE, ask(door, master, level)).await.unwrap_or(Err(NoStatus::Late))
}

async fn ask(door: &Door, master: &Master, level: Level) -> Result<Status, NoStatus> {
    if master.kind == (Kind::Open { check: Check::Tcp }) {
        return Err(NoStatus::TcpAlone);
    }
    let member = door.pool.member(&master.certname).ok_or(NoStatus::Gone)?;
    let target = Uri::from_static(match level {
        Level::Critical => "/status/v1/services?level=critical",
        Level::Info => "/status/v1/services?level=info",
        Level::Debug => "/status/v1/services?level=debug",
    });
    let question = Question { method: Method::GET, target: &target, headers: HeaderMap::new(), most: MOST };
    let answer = Questions::new(door, &member, PATIENCE).ask(question).await;
    let answer = answer.map_err(|why| NoStatus::Unanswered(why.into()))?;
    let status = answer.status;
    if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
        return Err(NoStatus::Other(status));
    }
    let content_type = answer.headers.get(header::CONTENT_TYPE).filter(|kind| is_json(kind));
    let content_type = content_type.ok_or(NoStatus::NoJson)?.clone();
    Ok(Status { status, content_type, body: answer.body })
}

fn is_json(content_type: &HeaderValue) -> bool {
    let kind = content_type.as_bytes().split(|b| *b == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_relayed() {
        for kind in ["application/json", "application/json;charset=utf-8", "Application/JSON ; charset=utf-8"]
        {
            assert!(is_json(&HeaderValue::from_str(kind).unwrap()), "{kind}");
        }
        for kind in ["", "text/html", "application/jsonp", "text/html; a=application/json"] {
            assert!(!is_json(&HeaderValue::from_str(kind).unwrap()), "{kind}");
        }
    }
}
