//! PuppetDB: what is known of a node's runs, and that a node is none any more.
//!
//! An answer is asked for field by field, so that its size does not depend on how much a node reports.

use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Preset, Server};

use crate::ask::{Answer, Question};
use crate::pipeline::evidence::Past;
use crate::pipeline::report::{Catalog, Report, Status};
use crate::pipeline::{Stop, StopKind};
use crate::site::Site;

/// The most reports of a node that are looked at: as many as it makes in half a day.
const MOST_REPORTS: usize = 24;
/// The same where each comes whole, with its resources and its log.
const FEW_REPORTS: usize = 3;
const FIELDS: [&str; 9] = [
    "hash",
    "status",
    "noop",
    "cached_catalog_status",
    "transaction_uuid",
    "job_id",
    "start_time",
    "end_time",
    "receive_time",
];
/// PuppetDB counts in milliseconds.
const SPAN: SignedDuration = SignedDuration::from_millis(1);

/// PuppetDB of an installation.
#[derive(Debug, Clone, Copy)]
pub struct PuppetDb<'s> {
    site: &'s Site,
    server: &'s Server,
}

#[derive(Debug, Deserialize)]
struct Row {
    hash: String,
    status: Option<String>,
    noop: Option<bool>,
    cached_catalog_status: Option<String>,
    transaction_uuid: Option<String>,
    job_id: Option<String>,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    receive_time: Timestamp,
}

/// A node as PuppetDB knows it: when it was last heard of, and whether it counts.
#[derive(Debug, Default, Deserialize)]
struct Node {
    deactivated: Option<String>,
    expired: Option<String>,
    report_timestamp: Option<Timestamp>,
    catalog_timestamp: Option<Timestamp>,
    facts_timestamp: Option<Timestamp>,
    /// PuppetDB 2 says so of a node that it does not know.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Deactivate<'c> {
    certname: &'c Certname,
    producer_timestamp: String,
}

impl<'s> PuppetDb<'s> {
    /// The installation's, where it has one.
    #[must_use]
    pub fn of(site: &'s Site) -> Option<Self> {
        site.settings.puppetdb.as_ref().map(|server| Self { site, server })
    }

    /// A node's latest reports, newest first.
    ///
    /// # Errors
    /// PuppetDB cannot be asked, or refuses.
    pub async fn reports(&self, node: &Certname) -> Result<Vec<Past>, Stop> {
        let order = json!([{"field": "receive_time", "order": "desc"}]);
        let own = json!(["=", "certname", node.as_str()]);
        // Before 2016 not every field was known, and a query that names an unknown one is refused.
        let (query, limit) = match self.site.settings.preset {
            Preset::Pe3 | Preset::Pe2015 => (own, FEW_REPORTS),
            Preset::Pe2019 | Preset::OpenSource => (json!(["extract", FIELDS, own]), MOST_REPORTS),
        };
        let path = format!(
            "/pdb/query/v4/reports?query={}&order_by={}&limit={limit}",
            encoded(&query.to_string()),
            encoded(&order.to_string())
        );
        let answer = self.ask(&Question::get(path).shown()).await?;
        let rows: Vec<Row> = answer.read(&self.server.address).map_err(|error| error.stop())?;
        Ok(rows.into_iter().map(Row::past).collect())
    }

    /// Whether the node is one that PuppetDB counts: known, and neither deactivated nor expired.
    ///
    /// # Errors
    /// PuppetDB cannot be asked, or refuses.
    pub async fn is_active(&self, node: &Certname) -> Result<bool, Stop> {
        let node = self.node(node).await?;
        Ok(node.is_some_and(|node| node.deactivated.is_none() && node.expired.is_none()))
    }

    /// Has PuppetDB count a node no more. It is done a while after the answer.
    ///
    /// # Errors
    /// PuppetDB cannot be asked, or refuses.
    pub async fn deactivate(&self, certname: &Certname) -> Result<(), Stop> {
        if self.site.settings.preset == Preset::Pe3 {
            // PuppetDB 2 goes by the time at which it comes to it.
            let command = json!({ "command": "deactivate node", "version": 2, "payload": certname });
            let question = Question::of(Method::POST, "/v3/commands").json(&command).shown();
            let question = question.header(header::ACCEPT, "application/json");
            return self.ask(&question).await.map(drop);
        }
        let node = self.node(certname).await?.unwrap_or_default();
        // PuppetDB takes no notice of one that is older than what it knows of the node, by whatever clock.
        let heard = [node.report_timestamp, node.catalog_timestamp, node.facts_timestamp];
        let latest = heard.into_iter().flatten().max().and_then(|at| at.checked_add(SPAN).ok());
        let producer_timestamp = latest.into_iter().fold(Timestamp::now(), Timestamp::max).to_string();
        let path = format!(
            "/pdb/cmd/v1?command=deactivate_node&version=3&certname={}&producer-timestamp={}",
            encoded(certname.as_str()),
            encoded(&producer_timestamp)
        );
        let body = Deactivate { certname, producer_timestamp };
        self.ask(&Question::of(Method::POST, path).json(&body).shown()).await.map(drop)
    }

    async fn node(&self, node: &Certname) -> Result<Option<Node>, Stop> {
        let of = match self.site.settings.preset {
            Preset::Pe3 => "/v3/nodes",
            _ => "/pdb/query/v4/nodes",
        };
        let question = Question::get(format!("{of}/{}", encoded(node.as_str()))).shown();
        let answer = self.site.ask(self.server, &question).await.map_err(|error| error.stop())?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let node: Node = self.good(answer)?.read(&self.server.address).map_err(|error| error.stop())?;
        Ok(Some(node).filter(|node| node.error.is_none()))
    }

    async fn ask(&self, question: &Question) -> Result<Answer, Stop> {
        let answer = self.site.ask(self.server, question).await.map_err(|error| error.stop())?;
        self.good(answer)
    }

    fn good(&self, answer: Answer) -> Result<Answer, Stop> {
        let Server { certname, address } = self.server;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let reason = format!("PuppetDB ({address}) answered {}", answer.words());
        Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Stop::new(
                StopKind::Refused,
                reason,
                format!(
                    "put the certname of the certificate under [identity] on {certname}'s certificate-allowlist and have \
                     PuppetDB read it again, then resume"
                ),
            ),
            _ => Stop::new(StopKind::Failed, reason, "see PuppetDB's log, then resume"),
        })
    }
}

impl Row {
    fn past(self) -> Past {
        let status = match self.status.as_deref() {
            Some("changed") => Status::Changed,
            Some("unchanged") => Status::Unchanged,
            // What is not known to be good is not.
            _ => Status::Failed,
        };
        let catalog = match self.cached_catalog_status.as_deref() {
            Some("explicitly_requested") => Catalog::Cached,
            Some("on_failure") => Catalog::CachedOnFailure,
            _ => Catalog::Fresh,
        };
        let report = Report {
            hash: self.hash,
            status,
            noop: self.noop.unwrap_or_default(),
            catalog,
            job: self.job_id,
            transaction: self.transaction_uuid,
        };
        Past { report, lasted: self.start_time.zip(self.end_time), received: self.receive_time }
    }
}

/// For a query: everything but what every reader leaves alone is encoded.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_does_not_say_how_it_ended_has_not_ended_well() {
        let row = |text: &str| serde_json::from_str::<Row>(text).unwrap().past().report;
        let good = row(
            r#"{"hash":"a1","status":"unchanged","noop":false,"cached_catalog_status":"not_used","transaction_uuid":"u","job_id":null,"receive_time":"2026-11-29T20:00:00.000Z"}"#,
        );
        assert_eq!((good.status, good.catalog, good.noop), (Status::Unchanged, Catalog::Fresh, false));
        let odd = row(r#"{"hash":"a1","receive_time":"2026-11-29T20:00:00Z"}"#);
        assert_eq!((odd.status, odd.job), (Status::Failed, None));
        let cached = row(
            r#"{"hash":"a","status":"changed","cached_catalog_status":"on_failure","receive_time":"2026-11-29T20:00:00Z"}"#,
        );
        assert_eq!(cached.catalog, Catalog::CachedOnFailure);
    }

    #[test]
    fn a_query_holds_nothing_that_ends_it() {
        assert_eq!(encoded(r#"["=","a b&c"]"#), "%5B%22%3D%22%2C%22a%20b%26c%22%5D");
    }
}
