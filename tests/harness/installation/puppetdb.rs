//! PuppetDB: reports and nodes, and who may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::PUPPETDB;
use crate::answer::{Answer, Script};
use crate::ca::{DoorCa, PuppetCa};
use crate::http1::Head;
use crate::identity::Leaf;
use crate::listening::{Listening, Speaks};
use crate::puppet::percent_decode;
use crate::record::{Record, Seen};
use crate::serving::{self, Role, serve};
use crate::tls;

/// A running PuppetDB.
pub struct PuppetDb {
    listening: Mutex<Option<Listening>>,
    address: SocketAddr,
    desk: Arc<Desk>,
}

struct Desk {
    book: Mutex<Book>,
    record: Record,
    script: Script,
}

#[derive(Default)]
struct Book {
    /// Certnames that may ask, as read at the last start.
    in_force: BTreeSet<String>,
    /// Certnames that its machine's run wrote.
    list: BTreeSet<String>,
    /// Reports by certname, newest first.
    reports: BTreeMap<String, Vec<Value>>,
    /// Certnames that are no nodes any more.
    deactivated: BTreeSet<String>,
    /// Certnames that masters' runs have exported.
    exported: BTreeSet<String>,
    clock: u64,
}

impl PuppetDb {
    pub(super) fn start(ca: &PuppetCa) -> Arc<Self> {
        let identity = ca.issue(&Leaf::server(PUPPETDB));
        let desk =
            Arc::new(Desk { book: Mutex::default(), record: Record::default(), script: Script::default() });
        let shared = desk.clone();
        let listening = Listening::start(
            tls::wanting(&identity, ca, &DoorCa::new()),
            Arc::new(move |conn, id| Box::pin(serve(shared.clone(), conn, id))),
        );
        let address = listening.address();
        Arc::new(Self { listening: Mutex::new(Some(listening)), address, desk })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request it has seen.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.desk.record
    }

    /// What is to be answered otherwise.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.desk.script
    }

    /// It is gone: nobody listens there any more.
    pub fn dies(&self) {
        drop(self.listening.lock().unwrap().take());
    }

    /// What it speaks from now on.
    pub(super) fn speak(&self, speaks: Speaks) {
        if let Some(listening) = &*self.listening.lock().unwrap() {
            listening.speak(speaks);
        }
    }

    pub(super) async fn ask(
        &self,
        peer: Option<CertificateDer<'static>>,
        head: Head,
        body: &[u8],
    ) -> Option<Answer> {
        serving::answer(&*self.desk, peer, head, body).await
    }

    /// Puts a certname on its list, which it has read.
    pub fn knows(&self, certname: &str) {
        let mut book = self.desk.book.lock().unwrap();
        book.exported.insert(certname.to_owned());
        book.list.insert(certname.to_owned());
        book.in_force.insert(certname.to_owned());
    }

    /// Forgets every report of a node, as after its time to live.
    pub fn forget_reports(&self, certname: &str) {
        self.desk.book.lock().unwrap().reports.remove(certname);
    }

    /// Whether a certname may ask.
    #[must_use]
    pub fn lets_in(&self, certname: &str) -> bool {
        self.desk.book.lock().unwrap().in_force.contains(certname)
    }

    /// Whether a node counts.
    #[must_use]
    pub fn is_active(&self, certname: &str) -> bool {
        let book = self.desk.book.lock().unwrap();
        book.reports.contains_key(certname) && !book.deactivated.contains(certname)
    }

    /// Whether it was told that a node is none any more.
    #[must_use]
    pub fn was_told_of_the_end_of(&self, certname: &str) -> bool {
        self.desk.book.lock().unwrap().deactivated.contains(certname)
    }

    /// A run of a master exported its name.
    pub(super) fn exported(&self, certname: &str) {
        let mut book = self.desk.book.lock().unwrap();
        book.exported.insert(certname.to_owned());
    }

    /// Certnames that a run which collects them gets.
    pub(super) fn collected(&self) -> BTreeSet<String> {
        let book = self.desk.book.lock().unwrap();
        book.exported.difference(&book.deactivated).cloned().collect()
    }

    /// Its machine ran: the list is what is exported now, and it is started again if that changed it.
    pub(super) fn took_up(&self) {
        let collected = self.collected();
        let mut book = self.desk.book.lock().unwrap();
        book.list = collected;
        let list = book.list.clone();
        book.in_force = list;
    }

    /// A run ended: its report.
    pub(super) fn report(&self, certname: &str, status: &str, transaction: &str, more: &Value) {
        let mut book = self.desk.book.lock().unwrap();
        book.clock += 1;
        // Each run takes the half of the second before its report.
        let at = |clock: u64, more: u64| {
            format!("2026-11-29T12:{:02}:{:02}.{more:03}Z", clock / 60 % 60, clock % 60)
        };
        let (start, end) = (at(book.clock - 1, 500), at(book.clock, 0));
        let mut report = json!({
            "certname": certname, "hash": format!("{:040x}", book.clock), "status": status, "noop": false,
            "cached_catalog_status": "not_used", "transaction_uuid": transaction, "job_id": null,
            "start_time": start, "end_time": end, "receive_time": end,
        });
        if let (Some(report), Some(more)) = (report.as_object_mut(), more.as_object()) {
            report.extend(more.clone());
        }
        book.deactivated.remove(certname);
        book.reports.entry(certname.to_owned()).or_default().insert(0, report);
    }
}

impl Desk {
    fn reports(&self, query: &str) -> Answer {
        // The last word of `["=", "certname", "X"]` is the one asked for, whatever stands around it.
        let query: Value = serde_json::from_str(query).unwrap_or_default();
        let own = if query.get(0) == Some(&json!("extract")) { query.get(2) } else { Some(&query) };
        let Some(certname) = own.and_then(|own| own.get(2)).and_then(Value::as_str) else {
            return Answer::text(400, "a query of another shape");
        };
        let fields: Option<Vec<&str>> = (query.get(0) == Some(&json!("extract")))
            .then(|| query[1].as_array().into_iter().flatten().filter_map(Value::as_str).collect());
        let book = self.book.lock().unwrap();
        let rows = book.reports.get(certname).into_iter().flatten().take(24).map(|report| match &fields {
            None => report.clone(),
            Some(fields) => {
                fields.iter().map(|field| ((*field).to_owned(), report[*field].clone())).collect()
            }
        });
        Answer::json(&Value::Array(rows.collect()))
    }

    fn node(&self, certname: &str) -> Answer {
        let book = self.book.lock().unwrap();
        let gone = book.deactivated.contains(certname);
        match book.reports.get(certname).and_then(|reports| reports.first()) {
            None if !book.exported.contains(certname) => {
                let mut answer = Answer::json(
                    &json!({ "error": format!("No information is known about node {certname}") }),
                );
                answer.status = 404;
                answer
            }
            latest => Answer::json(&json!({
                "certname": certname,
                "deactivated": gone.then_some("2026-11-29T12:00:00.000Z"),
                "expired": null,
                "report_timestamp": latest.map(|report| report["receive_time"].clone()),
            })),
        }
    }

    /// As PuppetDB 2 takes it.
    fn old_command(&self, body: &[u8]) -> Answer {
        let command: Value = serde_json::from_slice(body).unwrap_or_default();
        match (command["command"].as_str(), command["version"].as_u64(), command["payload"].as_str()) {
            (Some("deactivate node"), Some(2), Some(certname)) => {
                self.book.lock().unwrap().deactivated.insert(certname.to_owned());
                Answer::json(&json!({ "uuid": "a5b9c0de-0000-4000-8000-000000000000" }))
            }
            _ => Answer::text(400, "an unknown command"),
        }
    }

    fn command(&self, seen: &Seen, body: &[u8]) -> Answer {
        if seen.head.query("command") != Some("deactivate_node") {
            return Answer::text(400, "an unknown command");
        }
        let payload: Value = serde_json::from_slice(body).unwrap_or_default();
        let named = seen.head.query("certname").and_then(percent_decode);
        match payload["certname"].as_str() {
            Some(certname) if named.as_deref() == Some(certname) => {
                self.book.lock().unwrap().deactivated.insert(certname.to_owned());
                Answer::json(&json!({ "uuid": "a5b9c0de-0000-4000-8000-000000000000" }))
            }
            _ => Answer::text(400, "certname and payload differ"),
        }
    }
}

impl Role for Desk {
    type Held = ();

    async fn hold(&self, _: &Head) {}

    async fn answer(&self, seen: &Seen, body: &[u8]) -> Option<Answer> {
        let allowed =
            seen.peer.as_ref().is_some_and(|peer| self.book.lock().unwrap().in_force.contains(peer));
        if !allowed {
            let who = seen.peer.clone().unwrap_or_default();
            let words =
                format!("The client certificate name ({who}) doesn't appear in the certificate allowlist.");
            return Some(Answer::text(403, words));
        }
        let path = seen.path();
        Some(match (seen.head.method(), path) {
            ("GET", "/pdb/query/v4/reports") => {
                let query = seen.head.query("query").and_then(percent_decode).unwrap_or_default();
                self.reports(&query)
            }
            ("POST", "/pdb/cmd/v1") => self.command(seen, body),
            ("POST", "/v3/commands") => self.old_command(body),
            ("GET", path) => {
                match path.strip_prefix("/pdb/query/v4/nodes/").or_else(|| path.strip_prefix("/v3/nodes/")) {
                    Some(certname) => self.node(certname),
                    None => Answer::text(404, "Not Found"),
                }
            }
            _ => Answer::text(404, "Not Found"),
        })
    }

    fn wants_whole_body(&self, _: &Head) -> bool {
        true
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn keeps_records(&self) -> bool {
        true
    }

    fn script(&self) -> &Script {
        &self.script
    }
}
