//! Every answer the door gives in its own name: one table.
//!
//! A refusal is a value the size of a few words that any step of the path may return; only here does it become a
//! status, a sentence and a header. The words go to a person who reads them in an agent's log ("Error 403 on
//! SERVER: …"), so each ends with what to do, and none repeats anything the client sent.
//!
//! `Retry-After` is set only where the same request will succeed later without anybody acting: agents from 5.3 on
//! wait for it and ask again, at most ten times in the oldest of them, so no value here is a few seconds. A 503
//! without it is a failure to them, and the run goes on with what it has.
#![deny(clippy::disallowed_methods)]

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// The methods that any route behind the door has.
pub const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";

/// Whom the door was speaking to when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A compile master on the roster.
    Master,
    /// The Master of Masters.
    Mom,
}

/// Whose doing a refusal is: what an operator asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client asked for what it cannot have, or in a way nobody should.
    Agent,
    /// The door reached a bound or a state of its own.
    Door,
    /// Compile masters did not answer as they should.
    Master,
    /// The Master of Masters did not answer as it should.
    Mom,
}

impl Side {
    /// The word for metrics and access lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Door => "door",
            Self::Master => "master",
            Self::Mom => "mom",
        }
    }
}

/// Something that exists on a Puppet server and is not passed on, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forbidden {
    /// Signing, revoking, cleaning, listing certificates; replacing the CRL; withdrawing a request.
    CaAdministration,
    /// `/puppet-admin-api/`: caches and JRuby pools of one server.
    AdminApi,
    /// `/metrics/`: figures of one server.
    Metrics,
    /// `/file-sync/`: between a compile master and its primary.
    FileSync,
}

/// Why the door answers instead of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request target is not a path: `*`, `http://host/…`, `host:port`.
    Target,
    /// The path could mean one thing to the door and another to a server.
    Path,
    /// No `Host`, several, or one that is no host name.
    Host,
    /// `Transfer-Encoding` is anything but one `chunked`, or a length is stated beside it.
    Framing,
    /// The client asked to leave HTTP/1.1.
    Upgrade,
    /// The route exists and has other methods, which these are.
    Method(&'static str),
    /// No such route.
    NotFound,
    /// `/status/v1/` beyond `simple`: the state of one server.
    OneServersStatus,
    /// Renewal of an agent's certificate, which the settings do not turn on.
    Renewal,
    /// Renewals at the Master of Masters are at their bound.
    RenewalBusy,
    /// Known, and never passed on.
    Forbidden(Forbidden),
    /// The route is for verified agents and the client showed no certificate.
    NeedsIdentity,
    /// The client's certificate was revoked after its handshake.
    Revoked,
    /// The client's certificate ended after its handshake.
    Expired,
    /// The head with the door's own headers is larger than the master reads.
    HeadForMaster,
    /// The head is larger than the door reads. hyper gives this answer by itself, without words.
    Head,
    /// The head is no HTTP. hyper gives this answer by itself, without words.
    Malformed,
    /// A certificate request larger than any that is real.
    Csr,
    /// The body arrives slower than the least rate.
    BodyTooSlow,
    /// The body broke off or was not well-formed.
    BodyBroken,
    /// One address opens too many connections without a certificate.
    Source,
    /// One certificate has too many connections.
    Crowd,
    /// Requests without a certificate at compile masters are at their bound.
    Strangers,
    /// Requests at the Master of Masters are at their bound.
    MomBusy,
    /// No master is on the roster.
    RosterEmpty,
    /// A run that is to begin would have to wait long, and its agent comes back after so many seconds.
    Shed(u16),
    /// As many requests wait for a JRuby as may.
    QueueFull,
    /// Its agent would have left before an answer that had to wait longer.
    InVain,
    /// The same agent has asked for its catalog again.
    Replaced,
    /// Masters are on the roster and none takes work.
    NoMasterFit,
    /// No master has shown yet that it refuses strangers.
    NoMasterTested,
    /// Every master answers strangers.
    NoMasterSealed,
    /// The canary of an open master, which knows its agents by their own TLS.
    CanaryOfOpen,
    /// The last sealed master has left, and who connects anew is passed to an open one.
    ConnectAnew,
    /// Every connection that may be open to whoever was asked is in use.
    Full(Backend),
    /// No connection, or none that proves its name.
    Unreachable(Backend),
    /// The connection ended before an answer began.
    Closed(Backend),
    /// The answer's head did not come in time.
    Silent(Backend),
    /// The answer was no HTTP that may be passed on.
    Garbled(Backend),
    /// `101 Switching Protocols` that nobody asked for.
    Unasked101(Backend),
}

/// One row of the table.
struct Row {
    status: StatusCode,
    /// Seconds; none where coming back would change nothing.
    retry_after: Option<u16>,
    /// Whether the connection ends with this answer.
    close: bool,
    label: &'static str,
    side: Side,
    words: &'static str,
}

const fn row(
    status: StatusCode,
    retry_after: Option<u16>,
    close: bool,
    label: &'static str,
    side: Side,
    words: &'static str,
) -> Row {
    Row { status, retry_after, close, label, side, words }
}

const KEEP: bool = false;
const CLOSE: bool = true;

impl Refusal {
    #[rustfmt::skip] // a table is read in columns
    const fn row(self) -> Row {
        use Backend::{Master, Mom};
        use StatusCode as S;
        match self {
            Self::Target => row(S::BAD_REQUEST, None, CLOSE, "bad_target", Side::Agent,
                "the request target must be a path that begins with a slash; set the agent's server, not a proxy"),
            Self::Path => row(S::BAD_REQUEST, None, KEEP, "bad_path", Side::Agent,
                "the path is ambiguous (an empty, `.` or `..` segment, `;`, a backslash, an encoded slash or control character, or an encoding where none belongs); write it plainly"),
            Self::Host => row(S::BAD_REQUEST, None, CLOSE, "bad_host", Side::Agent,
                "a request must carry exactly one Host header, with a host name; correct the client"),
            Self::Framing => row(S::BAD_REQUEST, None, CLOSE, "bad_framing", Side::Agent,
                "the length of the body is stated in a way that can be read twice; send one Content-Length or one `Transfer-Encoding: chunked`"),
            Self::Upgrade => row(S::BAD_REQUEST, None, CLOSE, "upgrade", Side::Agent,
                "only HTTP/1.1 is spoken here; leave out the Upgrade header"),
            Self::Method(_) => row(S::METHOD_NOT_ALLOWED, None, KEEP, "method", Side::Agent,
                "this path does not have that method; the Allow header names those it has"),
            Self::NotFound => row(S::NOT_FOUND, None, KEEP, "not_found", Side::Agent,
                "no such path behind this door; ask the server that has it by its own name"),
            Self::OneServersStatus => row(S::NOT_FOUND, None, KEEP, "one_servers_status", Side::Agent,
                "the status of a single server is not answered here; ask that server by its own name, or ask /status/v1/simple for whether agents are served"),
            Self::Renewal => row(S::NOT_FOUND, None, KEEP, "renewal", Side::Agent,
                "certificates are not renewed through this door, whose settings have no [renewal]; the agent goes on with the one it has, and renews it at the CA by its own name"),
            // No 503: an agent told to come back would hold up its run for what can wait until the next.
            Self::RenewalBusy => row(S::GATEWAY_TIMEOUT, None, KEEP, "renewal_busy", Side::Door,
                "as many renewals as allowed are at the Master of Masters; the agent goes on with the certificate it has and asks again at its next run, see that the CA answers"),
            Self::Forbidden(Forbidden::CaAdministration) => row(S::FORBIDDEN, None, KEEP, "ca_administration", Side::Agent,
                "certificate administration is never passed on; use `puppetserver ca` on the Master of Masters, or its own name"),
            Self::Forbidden(Forbidden::AdminApi) => row(S::FORBIDDEN, None, KEEP, "admin_api", Side::Agent,
                "the admin API belongs to one server and is never passed on; ask each compile master by its own name"),
            Self::Forbidden(Forbidden::Metrics) => row(S::FORBIDDEN, None, KEEP, "metrics", Side::Agent,
                "metrics belong to one server and are never passed on; ask that server by its own name"),
            Self::Forbidden(Forbidden::FileSync) => row(S::FORBIDDEN, None, KEEP, "file_sync", Side::Agent,
                "file sync runs between a compile master and its primary and is never passed on; use the primary's own name"),
            Self::NeedsIdentity => row(S::FORBIDDEN, None, KEEP, "needs_identity", Side::Agent,
                "this path is for agents with a certificate of this Puppet CA and none was shown; have the certificate request signed, then run the agent again"),
            Self::Revoked => row(S::FORBIDDEN, None, CLOSE, "revoked", Side::Agent,
                "the certificate shown has been revoked; clean the agent's ssl directory and request a new one"),
            Self::Expired => row(S::FORBIDDEN, None, CLOSE, "expired", Side::Agent,
                "the certificate shown is past its end; clean the agent's ssl directory and request a new one"),
            Self::HeadForMaster => row(S::REQUEST_HEADER_FIELDS_TOO_LARGE, None, KEEP, "head_for_master", Side::Agent,
                "with the client's certificate added, the request's head is larger than the master reads; raise request-header-max-size in its webserver.conf and header_limit on the roster, or send fewer headers"),
            Self::Head => row(S::REQUEST_HEADER_FIELDS_TOO_LARGE, None, CLOSE, "head", Side::Agent,
                "the request's head is larger than the door reads; send fewer headers or raise bounds.head in the door's settings"),
            Self::Malformed => row(S::BAD_REQUEST, None, CLOSE, "malformed", Side::Agent,
                "the request is no HTTP/1.1; percent-encode what a query may not hold, such as the quotes and angle brackets of PuppetDB's"),
            Self::Csr => row(S::PAYLOAD_TOO_LARGE, None, CLOSE, "csr", Side::Agent,
                "what is sent to the CA is larger than bounds.csr; if it is a certificate request, look for what fills it in the agent's csr_attributes.yaml"),
            Self::BodyTooSlow => row(S::REQUEST_TIMEOUT, None, CLOSE, "body_too_slow", Side::Agent,
                "the request's body arrived too slowly; look at the network between agent and door, or lower bounds.rate"),
            Self::BodyBroken => row(S::BAD_REQUEST, None, CLOSE, "body_broken", Side::Agent,
                "the request's body broke off or is not well-formed; run the agent again"),
            Self::Source => row(S::TOO_MANY_REQUESTS, Some(60), CLOSE, "source", Side::Agent,
                "too many connections without a certificate from this address; come back later, or raise bounds.unauthenticated_per_source if many agents share it"),
            Self::Crowd => row(S::TOO_MANY_REQUESTS, Some(60), CLOSE, "crowd", Side::Agent,
                "half of all connections that may be open are, and this certificate has more than a sixteenth of all; see what runs on its node, or raise bounds.connections"),
            Self::Strangers => row(S::TOO_MANY_REQUESTS, Some(60), KEEP, "strangers", Side::Agent,
                "as many requests without a certificate as allowed are at compile masters; come back later, or show a certificate"),
            Self::MomBusy => row(S::SERVICE_UNAVAILABLE, Some(30), KEEP, "mom_busy", Side::Door,
                "as many requests as allowed are at the Master of Masters; come back later, or raise bounds.mom_ca or bounds.mom_packages"),
            Self::RosterEmpty => row(S::SERVICE_UNAVAILABLE, Some(60), KEEP, "roster_empty", Side::Door,
                "no compile master has been admitted; admit one with `stagedoor roster admit`"),
            Self::Shed(seconds) => row(S::SERVICE_UNAVAILABLE, Some(seconds), CLOSE, "shed", Side::Master,
                "so many runs wait for a JRuby that no other is begun; agents come back by themselves; add compile masters or JRubies if this stays"),
            Self::QueueFull => row(S::SERVICE_UNAVAILABLE, Some(60), CLOSE, "queue_full", Side::Master,
                "as many requests as allowed wait for a JRuby; come back later, and add compile masters or JRubies if this stays"),
            Self::InVain => row(S::SERVICE_UNAVAILABLE, Some(60), CLOSE, "in_vain", Side::Master,
                "no JRuby was free for as long as an agent waits for an answer; come back later, and add compile masters or JRubies if this stays"),
            Self::Replaced => row(S::SERVICE_UNAVAILABLE, Some(60), CLOSE, "replaced", Side::Agent,
                "the same agent has asked for its catalog again, and one at a time is compiled; see whether two agents run on its node"),
            Self::NoMasterFit => row(S::SERVICE_UNAVAILABLE, Some(60), KEEP, "no_master_fit", Side::Master,
                "no compile master takes work now; ask /v1/masters of the admin door for why"),
            Self::NoMasterTested => row(S::SERVICE_UNAVAILABLE, Some(15), KEEP, "no_master_tested", Side::Master,
                "no compile master has shown yet that it refuses connections without a certificate of a door; come back later, or ask /v1/masters of the admin door for why"),
            Self::NoMasterSealed => row(S::SERVICE_UNAVAILABLE, Some(60), KEEP, "no_master_sealed", Side::Master,
                "every compile master answers connections without a certificate of a door, so that nobody is sent to them; seal them, and ask /v1/masters of the admin door for how each is open"),
            Self::CanaryOfOpen => row(S::MISDIRECTED_REQUEST, None, KEEP, "canary_of_open", Side::Agent,
                "this certname is the canary of an open master, which ends its agents' TLS itself and is sent no request by a door; ask that master by its own name"),
            Self::ConnectAnew => row(S::SERVICE_UNAVAILABLE, Some(1), CLOSE, "connect_anew", Side::Door,
                "the compile masters that this connection led to have left the roster, and others serve its address now; connect again"),
            Self::Full(Master) => row(S::SERVICE_UNAVAILABLE, Some(60), KEEP, "connections_full", Side::Master,
                "every connection that may be open to a compile master is in use; come back later, and add masters or raise bounds.master_connections if this stays"),
            Self::Full(Mom) => row(S::SERVICE_UNAVAILABLE, Some(30), KEEP, "connections_full", Side::Mom,
                "every connection that may be open to the Master of Masters is in use; come back later, and see that it answers"),
            Self::Unreachable(Master) => row(S::BAD_GATEWAY, None, KEEP, "unreachable", Side::Master,
                "no compile master could be reached; ask /v1/masters of the admin door for why"),
            Self::Unreachable(Mom) => row(S::BAD_GATEWAY, None, KEEP, "unreachable", Side::Mom,
                "the Master of Masters could not be reached, so no certificate or package can be had; catalogs go on; see that it runs and that the door resolves and trusts its name"),
            Self::Closed(Master) => row(S::BAD_GATEWAY, None, KEEP, "closed", Side::Master,
                "the compile master ended the connection without an answer; see its log, then run the agent again"),
            Self::Closed(Mom) => row(S::BAD_GATEWAY, None, KEEP, "closed", Side::Mom,
                "the Master of Masters ended the connection without an answer; see its log, then run the agent again"),
            Self::Silent(Master) => row(S::GATEWAY_TIMEOUT, None, KEEP, "silent", Side::Master,
                "the compile master did not answer in time; look for a catalog that does not end in its log, or raise bounds.response_time"),
            Self::Silent(Mom) => row(S::GATEWAY_TIMEOUT, None, KEEP, "silent", Side::Mom,
                "the Master of Masters did not answer in time; look for an autosign program that does not end in its log"),
            Self::Garbled(Master) => row(S::BAD_GATEWAY, None, KEEP, "garbled", Side::Master,
                "what the compile master answered is not HTTP that may be passed on; see that its address on the roster is Puppet Server's port"),
            Self::Garbled(Mom) => row(S::BAD_GATEWAY, None, KEEP, "garbled", Side::Mom,
                "what the Master of Masters answered is not HTTP that may be passed on; see that mom.address is Puppet Server's port"),
            Self::Unasked101(Master) => row(S::BAD_GATEWAY, None, CLOSE, "unasked_101", Side::Master,
                "the compile master changed the protocol without being asked; see what stands between the door and it"),
            Self::Unasked101(Mom) => row(S::BAD_GATEWAY, None, CLOSE, "unasked_101", Side::Mom,
                "the Master of Masters changed the protocol without being asked; see what stands between the door and it"),
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// Seconds after which the same request may succeed without anybody acting.
    #[must_use]
    pub const fn retry_after(self) -> Option<u16> {
        self.row().retry_after
    }

    /// Whether the connection ends with this answer: it must where the door no longer knows for certain where the
    /// next request begins, and where it would not serve it.
    #[must_use]
    pub const fn close(self) -> bool {
        self.row().close
    }

    /// The word for metrics and access lines; with [`Refusal::side`] it names one row.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn side(self) -> Side {
        self.row().side
    }

    /// What the client reads.
    #[must_use]
    pub const fn words(self) -> &'static str {
        self.row().words
    }

    /// The answer itself, without the request id, which whoever sends it adds.
    #[must_use]
    pub fn response(self) -> Response<Bytes> {
        let row = self.row();
        let mut response = Response::new(Bytes::from_static(row.words.as_bytes()));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(seconds) = row.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::Method(allowed) = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if row.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const EVERY: &[Refusal] = &[
        Refusal::Target,
        Refusal::Path,
        Refusal::Host,
        Refusal::Framing,
        Refusal::Upgrade,
        Refusal::Method(METHODS),
        Refusal::NotFound,
        Refusal::OneServersStatus,
        Refusal::Renewal,
        Refusal::RenewalBusy,
        Refusal::Forbidden(Forbidden::CaAdministration),
        Refusal::Forbidden(Forbidden::AdminApi),
        Refusal::Forbidden(Forbidden::Metrics),
        Refusal::Forbidden(Forbidden::FileSync),
        Refusal::NeedsIdentity,
        Refusal::Revoked,
        Refusal::Expired,
        Refusal::HeadForMaster,
        Refusal::Head,
        Refusal::Malformed,
        Refusal::Csr,
        Refusal::BodyTooSlow,
        Refusal::BodyBroken,
        Refusal::Source,
        Refusal::Crowd,
        Refusal::Strangers,
        Refusal::MomBusy,
        Refusal::RosterEmpty,
        Refusal::Shed(30),
        Refusal::QueueFull,
        Refusal::InVain,
        Refusal::Replaced,
        Refusal::NoMasterFit,
        Refusal::NoMasterTested,
        Refusal::NoMasterSealed,
        Refusal::CanaryOfOpen,
        Refusal::ConnectAnew,
        Refusal::Full(Backend::Master),
        Refusal::Full(Backend::Mom),
        Refusal::Unreachable(Backend::Master),
        Refusal::Unreachable(Backend::Mom),
        Refusal::Closed(Backend::Master),
        Refusal::Closed(Backend::Mom),
        Refusal::Silent(Backend::Master),
        Refusal::Silent(Backend::Mom),
        Refusal::Garbled(Backend::Master),
        Refusal::Garbled(Backend::Mom),
        Refusal::Unasked101(Backend::Master),
        Refusal::Unasked101(Backend::Mom),
    ];

    #[test]
    fn label_and_side_name_one_row() {
        let mut seen = HashSet::new();
        for refusal in EVERY {
            assert!(seen.insert((refusal.label(), refusal.side())), "{refusal:?}");
        }
    }

    #[test]
    fn every_answer_is_plain_text_in_one_line_and_says_what_to_do() {
        for refusal in EVERY {
            let response = refusal.response();
            assert!(
                response.status().is_client_error() || response.status().is_server_error(),
                "{refusal:?}"
            );
            assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
            let words = refusal.words();
            assert!(words.is_ascii() && !words.contains('\n') && !words.ends_with('.'), "{words}");
            assert!(words.contains("; "), "what is wrong; what to do: {words}");
        }
    }

    #[test]
    fn agents_are_told_to_come_back_only_by_statuses_they_heed_and_at_once_only_where_others_serve_them() {
        for refusal in EVERY {
            let heeded = matches!(refusal.status().as_u16(), 429 | 503);
            assert_eq!(refusal.retry_after().is_some(), heeded, "{refusal:?}");
            let elsewhere = matches!(refusal, Refusal::ConnectAnew);
            assert!(refusal.retry_after().is_none_or(|s| s >= 15 || elsewhere), "{refusal:?}");
        }
    }

    #[test]
    fn a_refused_method_names_those_that_are_allowed() {
        let response = Refusal::Method("GET, HEAD").response();
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn a_refusal_is_passed_around_in_a_few_words() {
        assert!(size_of::<Refusal>() <= 24);
    }
}
