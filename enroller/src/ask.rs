//! Questions to the servers of an installation, over HTTPS: the CA, PuppetDB, the classifier, the orchestrator, the
//! doors, a master itself.
//!
//! One connection for each question: there are few, and none is used again after what it was judged by has changed. A
//! server is who its certificate of the Puppet CA says; a redirect is an answer like any other and followed by nobody.
//!
//! | file | holds |
//! |---|---|
//! | `https` | a question over a TLS connection of this program's own, or over a unix socket |
//! | `curl` | the same by `curl` on the server's own machine, whose Java 7 shares no cipher suite with this program |
//! | `head` | the text of an answer's head, as `curl` gives it (pure) |

mod curl;
mod head;
mod https;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use curl::{Given, by_curl};
pub use https::{Https, NotTls, Stranger};

use crate::pipeline::{Stop, StopKind};
use crate::secret::Token;
use crate::shell::NotRun;

/// The most bytes of an answer that are read: a catalog of a large node has some, and nothing else comes near.
pub const LARGEST: usize = 64 << 20;
/// For an answer, unless a question says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The header that carries an RBAC token.
const X_AUTHENTICATION: HeaderName = HeaderName::from_static("x-authentication");

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query, encoded.
    pub path: String,
    /// Further headers; a token's value is marked as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether this program's own certificate is shown.
    pub shows_identity: bool,
    /// How long the answer is waited for.
    pub patience: Duration,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing is there under this name.
    #[error("{address} cannot be connected to")]
    NotConnected {
        /// `host:port`, or a socket's path.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A connection, and then no TLS.
    #[error("{address} is no server that can be believed")]
    NotTls {
        /// `host:port`.
        address: String,
        /// Why not.
        #[source]
        source: NotTls,
    },
    /// This program would have to show a certificate.
    #[error("expected [identity] in the settings: {address} is asked with it")]
    NoIdentity {
        /// `host:port`.
        address: String,
    },
    /// The connection ended in the middle.
    #[error("{address} broke off")]
    Broken {
        /// `host:port`, or a socket's path.
        address: String,
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{address} gave no answer within {} s", .patience.as_secs())]
    Late {
        /// `host:port`, or a socket's path.
        address: String,
        /// The time.
        patience: Duration,
    },
    /// Asked on its own machine, which was not reached.
    #[error("{address} is to be asked on its own machine")]
    NotRun {
        /// `host:port`.
        address: String,
        /// Why not.
        #[source]
        source: NotRun,
    },
    /// `curl` did not get an answer there.
    #[error("{address}, asked on its own machine: {words}")]
    Curl {
        /// `host:port`.
        address: String,
        /// What `curl` said.
        words: String,
    },
    /// What came is no answer of such a server.
    #[error("{address} answered something else than expected: {found}")]
    Strange {
        /// `host:port`, or a socket's path.
        address: String,
        /// What came.
        found: String,
    },
}

impl Question {
    /// A question without a body.
    #[must_use]
    pub fn of(method: Method, path: impl Into<String>) -> Self {
        let (path, body, patience) = (path.into(), Bytes::new(), PATIENCE);
        Self { method, path, headers: HeaderMap::new(), body, shows_identity: false, patience }
    }

    /// `GET`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::of(Method::GET, path)
    }

    /// With this program's own certificate shown.
    #[must_use]
    pub const fn shown(mut self) -> Self {
        self.shows_identity = true;
        self
    }

    /// With a token.
    #[must_use]
    pub fn with_token(mut self, token: &Token) -> Self {
        // A token is printable ASCII, so this is a header's value.
        if let Ok(mut value) = HeaderValue::from_str(token.as_str()) {
            value.set_sensitive(true);
            self.headers.insert(X_AUTHENTICATION, value);
        }
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// With a body of this type.
    #[must_use]
    pub fn body(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut asked = self.header(header::CONTENT_TYPE, content_type);
        asked.body = body.into();
        asked
    }

    /// With a body in JSON.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        // These are types of this program's own: they have a JSON form.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.body("application/json", body)
    }

    /// With more or less patience.
    #[must_use]
    pub const fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Answer {
    /// The body as text, for words that are shown.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a `T`; `address` is for the error.
    ///
    /// # Errors
    /// It is none.
    pub fn read<T: DeserializeOwned>(&self, address: &str) -> Result<T, NoAnswer> {
        serde_json::from_slice(&self.body)
            .map_err(|error| NoAnswer::Strange { address: address.to_owned(), found: error.to_string() })
    }

    /// What it says in one line: a `msg` or `error` in JSON, else the beginning of its text.
    #[must_use]
    pub fn words(&self) -> String {
        let said = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let field = |name: &str| said.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let words = field("msg").or_else(|| field("error")).or_else(|| field("message"));
        let words = words.unwrap_or_else(|| self.text());
        let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect();
        if line.is_empty() {
            format!("{} without a word", self.status)
        } else {
            format!("{}: {line}", self.status)
        }
    }
}

impl NoAnswer {
    /// The stop that this is for a step.
    #[must_use]
    pub fn stop(&self) -> Stop {
        let reason = crate::words::chain(self);
        let (kind, way_out) = match self {
            Self::NoIdentity { .. } => {
                (StopKind::Refused, "name certificate and key under [identity], then resume")
            }
            Self::NotTls { source: NotTls::NothingInCommon, .. } => (
                StopKind::Refused,
                "Java 7, as in Puppet Enterprise 3.x, has no cipher suite that this program has: with preset = \"pe-3\" \
                 such servers are asked on their own machines",
            ),
            Self::NotTls { .. } => (
                StopKind::Refused,
                "see that the name and the files under [puppet_ca] are those of this installation, then resume",
            ),
            Self::NotRun { source: NotRun::NoWay { .. }, .. } => {
                (StopKind::Refused, "write [ssh] with `known_hosts`, then resume")
            }
            _ => (StopKind::Failed, "see that it runs and can be reached from here, then resume"),
        };
        Stop::new(kind, reason, way_out)
    }
}
