//! Asking one master something beside the path: whether it is fit, what it says of itself, to forget its caches.
//!
//! A question takes no place of an agent's request and never rides on a connection that one uses: it opens a
//! connection of its own, whatever number is open. Bounds are the asker's: how long to connect, how much of an answer
//! is read; how long all of it may take is for whoever awaits it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Member;
use crate::body::{Kept, Upload};
use crate::door::Door;
use crate::link::{Link, Terms, Unconnected, Unsent};

/// A connection to one master for questions, one after another.
pub(crate) struct Questions<'a> {
    door: &'a Door,
    member: &'a Member,
    /// To open a connection.
    patience: Duration,
    link: Option<Link>,
}

/// What is asked.
pub(crate) struct Question<'a> {
    /// How.
    pub method: Method,
    /// A path, perhaps with a query.
    pub target: &'a Uri,
    /// Beside `Host`.
    pub headers: HeaderMap,
    /// The most bytes of the answer's body.
    pub most: usize,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It took longer than its asker waits.
    #[error("no answer in time")]
    Late,
    /// Nothing was asked.
    #[error("cannot connect")]
    Unconnected(#[source] Unconnected),
    /// The connection ended before a byte was written, twice.
    #[error("the connection ended before the question")]
    Unwritten,
    /// It was asked, and ended the connection. A sealed master that refuses the door's certificate does so, too.
    #[error("the connection ended before an answer")]
    Cut(#[source] hyper::Error),
    /// The answer began and did not end.
    #[error("the connection ended within an answer")]
    Short(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is more of it than its asker reads.
    #[error("its answer is longer than {0} bytes")]
    Long(usize),
    /// Its name cannot stand in a head, which a roster's names can.
    #[error("its name is no host name")]
    Nameless,
}

impl<'a> Questions<'a> {
    /// For this master; connects when something is asked.
    pub(crate) const fn new(door: &'a Door, member: &'a Member, patience: Duration) -> Self {
        Self { door, member, patience, link: None }
    }

    /// Asks, and reads the answer to its end.
    ///
    /// A master may end a connection between two questions, so one that was not written is asked again, once, on a
    /// new connection; what was written is never asked twice.
    pub(crate) async fn ask(&mut self, question: Question<'_>) -> Result<Answer, Unanswered> {
        let most = question.most;
        let mut request = Request::new(Upload::new(Kept::empty(), None));
        *request.method_mut() = question.method;
        *request.uri_mut() = question.target.clone();
        *request.headers_mut() = question.headers;
        let host =
            HeaderValue::from_str(self.member.peer.certname.as_str()).map_err(|_| Unanswered::Nameless)?;
        request.headers_mut().insert(header::HOST, host);

        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        let sent = match link.send(request).await {
            Err(Unsent::Whole(request)) => {
                link = self.connect().await?;
                link.send(*request).await
            }
            sent => sent,
        };
        let response = sent.map_err(|unsent| match unsent {
            Unsent::Whole(_) => Unanswered::Unwritten,
            Unsent::Cut(why) => Unanswered::Cut(why),
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Unanswered::Long(most) } else { Unanswered::Short(error) }
        })?;
        self.link = Some(link);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<Link, Unanswered> {
        let snapshot = self.door.snapshot.load_full();
        let terms = Terms {
            tls: snapshot.tls_towards(self.member.kind),
            generation: snapshot.generation,
            lately: true,
            fresh: true,
            patience: self.patience,
        };
        self.member.peer.connect_beside(terms).await.map_err(Unanswered::Unconnected)
    }
}
