//! The orchestrator: who is connected to it, and jobs that have an agent run.
//!
//! It runs single nodes from 2016.5 on. Earlier ones take no notice of what a job is to be limited to and run a whole
//! environment; they have no inventory either, so that it is asked first.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Preset, Server};

use super::job::{Job, Node};
use super::rights::Service;
use crate::ask::{Answer, Question};
use crate::pipeline::{Stop, StopKind};
use crate::puppetdb::encoded;
use crate::site::Site;

/// The most jobs that are looked through: an enrollment's own is among the latest.
const MOST_JOBS: usize = 50;

const JOBS: &str = "Job orchestrator: Start, stop and view jobs";
const RUN: &str = "Puppet agent: Run Puppet on agent nodes (and Job orchestrator: Start, stop and view jobs)";

/// The orchestrator of an installation.
#[derive(Debug, Clone)]
pub struct Orchestrator<'s> {
    site: &'s Site,
    server: Server,
}

/// Whether a node can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Known {
    #[serde(default)]
    connected: bool,
}

#[derive(Debug, Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Started {
    job: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Serialize)]
struct Deploy<'d> {
    environment: &'d str,
    enforce_environment: bool,
    scope: Scope<'d>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'d str>,
}

#[derive(Debug, Serialize)]
struct Scope<'d> {
    nodes: [&'d Certname; 1],
}

#[derive(Debug, Serialize)]
struct Which<'d> {
    job: &'d str,
}

impl<'s> Orchestrator<'s> {
    /// The installation's, which runs on the Master of Masters and is reached at this `host:port`.
    #[must_use]
    pub fn at(site: &'s Site, address: &str) -> Self {
        let certname = site.settings.mom.certname.clone();
        Self { site, server: Server { certname, address: address.to_owned() } }
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// Whether a node's agent is connected, so that it can be run.
    ///
    /// # Errors
    /// The orchestrator cannot be asked or refuses, or cannot run single nodes.
    pub async fn is_connected(&self, node: &Certname) -> Result<bool, Stop> {
        let path = format!("/orchestrator/v1/inventory/{}", encoded(node.as_str()));
        let answer = self.service().ask(Question::get(path), JOBS).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let reason = format!(
                "{}: it has no inventory, as before Puppet Enterprise 2016.5, and would run a whole environment",
                self.service().answered(&answer)
            );
            let way_out = "write runner = \"ssh\" or \"mcollective\" under [runs], then resume";
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        if !answer.status.is_success() {
            let reason = self.service().answered(&answer);
            let way_out = format!(
                "see that the PCP broker runs (port 8142, /var/log/puppetlabs/puppetserver/pcp-broker.log on {}), then \
                 resume",
                self.server.certname
            );
            return Err(Stop::new(StopKind::Failed, reason, way_out));
        }
        Ok(self.read::<Known>(&answer)?.connected)
    }

    /// The latest jobs.
    ///
    /// # Errors
    /// The orchestrator cannot be asked, or refuses.
    pub async fn jobs(&self) -> Result<Vec<Job>, Stop> {
        // Later versions count from the oldest unless told otherwise; earlier ones give the latest, and know no order.
        let order = match self.site.settings.preset {
            Preset::Pe2019 => "&order_by=timestamp&order=desc",
            _ => "",
        };
        let question = Question::get(format!("/orchestrator/v1/jobs?limit={MOST_JOBS}{order}"));
        Ok(self.good::<Items<Job>>(question).await?.items)
    }

    /// A job and its nodes.
    ///
    /// # Errors
    /// The orchestrator cannot be asked or refuses, or has no such job.
    pub async fn job(&self, name: &str) -> Result<(Job, Vec<Node>), Stop> {
        let path = format!("/orchestrator/v1/jobs/{}", encoded(name));
        let nodes = self.good::<Items<Node>>(Question::get(format!("{path}/nodes"))).await?.items;
        Ok((self.good::<Job>(Question::get(path)).await?, nodes))
    }

    /// Starts a run of this node alone; gives the job's name. The description tells it from others.
    ///
    /// # Errors
    /// The orchestrator cannot be asked, or refuses.
    pub async fn deploy(&self, node: &Certname, description: &str) -> Result<String, Stop> {
        // A node runs in its own environment. Early versions want the name of one that is there all the same.
        let environment = match self.site.settings.preset {
            Preset::Pe2019 => "",
            _ => self.site.settings.canary.environments.first().map_or("production", |first| first.as_str()),
        };
        let scope = Scope { nodes: [node] };
        let deploy =
            Deploy { environment, enforce_environment: false, scope, description: Some(description) };
        let ask = async |deploy: &Deploy<'_>| {
            let question = Question::of(Method::POST, "/orchestrator/v1/command/deploy").json(deploy);
            self.service().ask(question, RUN).await
        };
        let mut answer = ask(&deploy).await?;
        // A job has a description since 2017.3. What was refused has started nothing.
        if answer.status == StatusCode::BAD_REQUEST && answer.text().contains("description") {
            answer = ask(&Deploy { description: None, ..deploy }).await?;
        }
        if !answer.status.is_success() {
            let reason = format!("{} to a run of {node}", self.service().answered(&answer));
            let way_out = match answer.status {
                StatusCode::NOT_FOUND => {
                    "name an environment that there is first under [canary]; then resume"
                }
                _ => "put right what it says, then resume",
            };
            return Err(Stop::new(StopKind::Failed, reason, way_out));
        }
        Ok(self.read::<Started>(&answer)?.job.name)
    }

    /// Has a job start no further runs; those that run go on to their end.
    ///
    /// # Errors
    /// The orchestrator cannot be asked, or refuses.
    pub async fn stop(&self, name: &str) -> Result<(), Stop> {
        let question = Question::of(Method::POST, "/orchestrator/v1/command/stop").json(&Which { job: name });
        let answer = self.service().ask(question, JOBS).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.service().odd(&answer)) }
    }

    async fn good<T: for<'de> Deserialize<'de>>(&self, question: Question) -> Result<T, Stop> {
        let answer = self.service().ask(question, JOBS).await?;
        match answer.status {
            status if status.is_success() => self.read(&answer),
            // It will not come back, unlike the orchestrator itself.
            StatusCode::NOT_FOUND => {
                let way_out = "resume, which starts another job";
                Err(Stop::new(StopKind::Refused, self.service().answered(&answer), way_out))
            }
            _ => Err(self.service().odd(&answer)),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, answer: &Answer) -> Result<T, Stop> {
        Ok(answer.read(self.address())?)
    }

    fn service(&self) -> Service<'_> {
        let log = "/var/log/puppetlabs/orchestration-services";
        Service { site: self.site, server: &self.server, what: "the orchestrator", log }
    }
}
