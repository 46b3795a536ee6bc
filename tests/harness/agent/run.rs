//! A run: what an agent asks for between its start and its report.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Agent, Session};
use crate::puppet::percent_encode;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of facts, about.
    pub facts: usize,
    /// Files fetched by content.
    pub files: usize,
    /// Files looked at by metadata.
    pub metadata: usize,
    /// Bytes of the report.
    pub report: usize,
    /// Whether a new connection is opened for the catalog and for the report, as after gaps of more than 4 s.
    pub reconnects: bool,
}

impl Default for Shape {
    /// What Puppet 8 does with a small static catalog.
    fn default() -> Self {
        Self { facts: 8 * 1024, files: 1, metadata: 4, report: 16 * 1024, reconnects: false }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The catalog.
    pub catalog: Value,
    /// The master that says it compiled it.
    pub compiler: String,
    /// From the request for the catalog to its last byte.
    pub catalog_time: Duration,
    /// Requests, all answered well.
    pub requests: usize,
}

impl Run {
    /// The certname that the master knew the agent by.
    #[must_use]
    pub fn certname(&self) -> &str {
        self.catalog["trusted"]["certname"].as_str().unwrap_or_default()
    }

    /// A trusted extension that the master saw, by its dotted object identifier.
    #[must_use]
    pub fn extension(&self, oid: &str) -> Option<&str> {
        self.catalog["trusted"]["extensions"][oid].as_str()
    }
}

impl Agent {
    /// A whole run.
    ///
    /// # Errors
    /// At the first request that is not answered as it should be.
    pub async fn run(&self, shape: Shape) -> anyhow::Result<Run> {
        self.run_steps(shape).await.with_context(|| format!("run of {}", self.certname))
    }

    async fn run_steps(&self, shape: Shape) -> anyhow::Result<Run> {
        let name = &self.certname;
        let mut requests = 0;
        let mut session = self.connect().await?;
        let mut get = async |session: &mut Session, target: String| {
            requests += 1;
            good(&target, session.get(&target).await?)
        };
        get(&mut session, format!("/puppet/v3/node/{name}?environment=production&fail_on_404=true")).await?;
        for mount in ["pluginfacts", "plugins"] {
            let query = "environment=production&recurse=true&links=follow&checksum_type=sha256";
            get(&mut session, format!("/puppet/v3/file_metadatas/{mount}?{query}")).await?;
        }
        for file in 0..shape.files {
            let target =
                format!("/puppet/v3/file_content/plugins/facter/fact-{file}.rb?environment=production");
            get(&mut session, target).await?;
        }

        if shape.reconnects {
            session = self.connect().await?;
        }
        let began = Instant::now();
        let catalog = session.catalog(name, shape.facts).await?;
        let catalog_time = began.elapsed();
        let compiler =
            catalog.headers().get("x-puppet-compiler-name").context("no X-Puppet-Compiler-Name")?;
        let compiler = compiler.to_str()?.to_owned();
        let catalog: Value = serde_json::from_slice(catalog.body()).context("the catalog")?;
        if catalog["name"] != name.as_str() {
            bail!("a catalog of {}", catalog["name"]);
        }
        for file in 0..shape.metadata {
            let target = format!("/puppet/v3/file_metadata/modules/base/file-{file}?environment=production");
            get(&mut session, target).await?;
        }

        if shape.reconnects {
            session = self.connect().await?;
        }
        session.report(name, shape.report).await?;
        Ok(Run { catalog, compiler, catalog_time, requests: requests + 2 })
    }
}

impl Session {
    /// Asks for a catalog as an agent does, with facts of about so many bytes.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn catalog(&mut self, certname: &str, facts: usize) -> anyhow::Result<Response<Bytes>> {
        let target = format!("/puppet/v3/catalog/{certname}?environment=production");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = self.ask_with(Method::POST, &target, &headers, catalog_form(certname, facts)).await?;
        good(&target, answer)
    }

    /// Sends a report of about so many bytes.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn report(&mut self, certname: &str, bytes: usize) -> anyhow::Result<Response<Bytes>> {
        let target = format!("/puppet/v3/report/{certname}?environment=production");
        let headers = [("Content-Type", "application/json")];
        let report =
            serde_json::json!({ "host": certname, "status": "unchanged", "logs": "x".repeat(bytes) });
        let answer = self.ask_with(Method::PUT, &target, &headers, report.to_string()).await?;
        good(&target, answer)
    }
}

/// The form of a catalog request: facts as JSON, percent-encoded twice as agents do it.
#[must_use]
pub fn catalog_form(certname: &str, facts: usize) -> String {
    let facts = serde_json::json!({ "name": certname, "values": { "filler": "f".repeat(facts) } });
    let facts = percent_encode(&percent_encode(&facts.to_string()));
    format!(
        "environment=production&facts_format=application%2Fjson&facts={facts}&static_catalog=true\
         &checksum_type=sha256.md5&transaction_uuid=6f0e1f4a-5c55-4c9b-9d1c-000000000000"
    )
}

fn good(target: &str, answer: Response<Bytes>) -> anyhow::Result<Response<Bytes>> {
    if answer.status() != StatusCode::OK {
        bail!("{target} was answered {}: {}", answer.status(), String::from_utf8_lossy(answer.body()).trim());
    }
    Ok(answer)
}
