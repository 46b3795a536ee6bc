//! What is known about one request when it is over.
//!
//! Filled on the way and given away once, by value. It holds copies of bounded length, never slices of the head that
//! was read: a slice would keep the whole read buffer alive while the line waits to be written. A query is never
//! kept: it may carry a token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;

use super::metrics::MasterMetrics;
use super::request_id::RequestId;
use crate::answer::{Refusal, Side};

/// The longest path that an access line shows; a longer one ends in `…`.
pub const PATH: usize = 1024;
/// The longest environment's name that an access line shows.
pub const ENVIRONMENT: usize = 128;

/// One request, from its head to the last byte of its answer.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head had been read.
    pub began: SystemTime,
    /// The id that the master was told as well.
    pub id: RequestId,
    /// Where the agent connected from.
    pub peer: SocketAddr,
    /// Who the handshake says it is; none without a verified certificate.
    pub certname: Option<Certname>,
    /// The protocol of its connection.
    pub tls: TlsVersion,
    /// `GET`, or [`method`] of it.
    pub method: &'static str,
    /// As it came, without its query, clipped to [`PATH`].
    pub path: Box<str>,
    /// None when the request was refused before it had a class.
    pub class: Option<Class>,
    /// Clipped to [`ENVIRONMENT`]; none where the request names none.
    pub environment: Option<Box<str>>,
    /// Who was asked last.
    pub asked: Asked,
    /// What the agent was answered; 0 when it left before.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, as a word of the program; none when all went well.
    pub reason: Option<&'static str>,
    /// How many times somebody was asked; 0 when the door answered itself.
    pub attempts: u32,
    /// Body bytes that came from the agent.
    pub bytes_in: u64,
    /// Body bytes that went to the agent.
    pub bytes_out: u64,
    /// Where the time went.
    pub phases: Phases,
}

impl Record {
    /// A record with what the connection and the head say; the rest is filled on the way.
    #[must_use]
    pub fn begin(
        began: SystemTime,
        id: RequestId,
        peer: SocketAddr,
        tls: TlsVersion,
        of: &Method,
        path: &str,
    ) -> Self {
        Self {
            began,
            id,
            peer,
            certname: None,
            tls,
            method: method(of),
            path: clip(path, PATH),
            class: None,
            environment: None,
            asked: Asked::Nobody,
            status: 0,
            outcome: Outcome::Left,
            reason: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            phases: Phases::default(),
        }
    }

    /// When its answer had gone.
    #[must_use]
    pub fn ended(&self) -> SystemTime {
        self.began + self.phases.total
    }

    /// Whether a master compiled a catalog, and it was answered.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.class == Some(Class::Catalog)
            && matches!(self.asked, Asked::Master(_))
            && self.outcome == Outcome::Answered
            && (200..300).contains(&self.status)
    }

    /// The door answers in its own name, and this is why.
    pub fn refused(&mut self, why: Refusal) {
        self.status = why.status().as_u16();
        self.outcome = if why.side() == Side::Agent { Outcome::Refused } else { Outcome::Failed };
        self.reason = Some(why.label());
    }
}

/// Who was asked for the answer.
#[derive(Debug, Clone)]
pub enum Asked {
    /// The door answered itself.
    Nobody,
    /// This compile master.
    Master(Arc<MasterMetrics>),
    /// The Master of Masters.
    Mom,
}

/// Where the time of one request went. A phase that did not take place has no duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Reading the body, before anybody was asked.
    pub body: Option<Duration>,
    /// Waiting for a JRuby; none where one was free.
    pub queue: Option<Duration>,
    /// Opening the connection that carried it, handshake included; none on one that was open already.
    pub connect: Option<Duration>,
    /// From the head being written to the response's head: the compile itself.
    pub first_byte: Option<Duration>,
    /// From the response's head to the last byte given to the agent.
    pub transfer: Option<Duration>,
    /// All of it.
    pub total: Duration,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A master or the Master of Masters answered, whatever its status, and the agent got all of it.
    Answered,
    /// The door's own answer: its status.
    Own,
    /// The door refused it: the request broke a rule.
    Refused,
    /// The door answered for a destination that could not, or at a bound of its own.
    Failed,
    /// The answer had begun and could not be finished.
    Broken,
    /// The agent left before it had all of its answer.
    Left,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::Own, Self::Refused, Self::Failed, Self::Broken, Self::Left];

    /// The place of this outcome in tables that hold one entry for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in metrics and access lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Own => "own",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

/// The protocol of an agent's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
    /// None agreed yet.
    Unknown,
}

impl TlsVersion {
    /// Every version, in the order of [`TlsVersion::index`].
    pub const ALL: [Self; 3] = [Self::Tls12, Self::Tls13, Self::Unknown];

    /// The place of this version in tables that hold one entry for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in metrics and access lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Option<rustls::ProtocolVersion>> for TlsVersion {
    fn from(version: Option<rustls::ProtocolVersion>) -> Self {
        match version {
            Some(rustls::ProtocolVersion::TLSv1_2) => Self::Tls12,
            Some(rustls::ProtocolVersion::TLSv1_3) => Self::Tls13,
            _ => Self::Unknown,
        }
    }
}

/// The word for a method: its name where HTTP defines it, else `OTHER`, since anybody can invent a long one.
#[must_use]
pub fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "OTHER",
    }
}

/// A copy of at most `most` bytes; what is longer ends in `…` at a character's edge.
#[must_use]
pub fn clip(text: &str, most: usize) -> Box<str> {
    if text.len() <= most {
        return text.into();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut kept = String::with_capacity(most);
    kept.push_str(text.get(..end).unwrap_or_default());
    kept.push('…');
    kept.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_versions_stand_at_their_index() {
        assert!(Outcome::ALL.iter().enumerate().all(|(i, o)| o.index() == i));
        assert!(TlsVersion::ALL.iter().enumerate().all(|(i, v)| v.index() == i));
    }

    #[test]
    fn an_agents_mistake_is_a_refusal_and_anybody_elses_a_failure() {
        let ids = super::super::request_id::RequestIds::from(0);
        let peer = "192.0.2.7:1".parse().unwrap();
        let mut record =
            Record::begin(SystemTime::UNIX_EPOCH, ids.next(), peer, TlsVersion::Tls12, &Method::GET, "//x");
        assert_eq!((record.status, record.outcome), (0, Outcome::Left), "until something is known");
        record.refused(Refusal::Path);
        assert_eq!((record.status, record.outcome, record.reason), (400, Outcome::Refused, Some("bad_path")));
        record.refused(Refusal::RosterEmpty);
        assert_eq!(
            (record.status, record.outcome, record.reason),
            (503, Outcome::Failed, Some("roster_empty"))
        );
    }

    #[test]
    fn a_long_path_is_clipped_within_its_bound() {
        assert_eq!(&*clip("/puppet", 7), "/puppet");
        assert_eq!(&*clip("/puppet/v3", 7), "/pup…");
        let wide = "ü".repeat(2000);
        let clipped = clip(&wide, PATH);
        assert!(clipped.len() <= PATH && clipped.ends_with("ü…"), "{}", clipped.len());
    }
}
