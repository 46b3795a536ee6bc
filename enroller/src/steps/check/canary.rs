//! The canary: a node of its own, whose catalogs show what a new master compiles.
//!
//! It is no node that anybody counts: PuppetDB is told so at the end of each proof.

mod papers;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};
use stagedoor_config::certname::Certname;
use stagedoor_config::read;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::here;
use crate::ask::{Answer, Given, Https, NoAnswer, Question, by_curl};
use crate::catalog::{Catalog, Own};
use crate::doors::AskedDoor;
use crate::pipeline::{Facts, Stop, StopKind};
use crate::puppetdb::{PuppetDb, encoded};
use crate::shell::Shell;
use crate::steps::admit::view;
use crate::steps::{BETWEEN, Enrolling};
pub(in crate::steps) use papers::forget;

/// For a catalog: as long as a modern agent waits. A first one in a cold JRuby takes minutes at large sites.
const CATALOG: Duration = Duration::from_secs(10 * 60);
/// For PuppetDB to take in from its queue that a node is none any more.
const TAKEN_IN: Duration = Duration::from_secs(60);
/// Sent with each request, so that masters take the canary for an agent that they may tell to come back.
const VERSION: &str = "7.0.0";

/// The canary of one master.
#[derive(Debug)]
pub(super) struct Canary {
    name: Certname,
    way: Way,
    facts: Value,
}

/// How it asks.
#[derive(Debug, Clone)]
enum Way {
    /// From here.
    Here(Https),
    /// On a server's own machine, where that runs on Java 7; its certificate goes there for the question.
    There { shell: Shell, puppet: String, given: Given },
}

impl Way {
    async fn ask(&self, name: &Certname, address: &str, question: &Question) -> Result<Answer, NoAnswer> {
        match self {
            Self::Here(https) => https.ask(name, address, question).await,
            Self::There { shell, puppet, given } => {
                by_curl(shell, puppet, (name, address), question, Some(given)).await
            }
        }
    }
}

impl Canary {
    /// The canary of the master that is enrolled, with a certificate, made where there is none.
    pub(super) async fn of(at: &Enrolling<'_>) -> Result<Self, Stop> {
        let name = at.canary()?;
        let (files, identity) = papers::of(at, &name).await?;
        let way = if at.site.settings.preset.is_java_7() {
            let text = |path| read::text(path).map_err(|error| here("the canary's certificate", &error));
            let given = Given::new(&text(&files.certificate)?, &text(&files.key)?);
            Way::There { shell: at.site.shell.clone(), puppet: at.site.puppet_program(), given }
        } else {
            let https = Https::new(Arc::clone(&at.site.trust), Some(&identity));
            Way::Here(https.map_err(|error| here("TLS", &error))?)
        };
        let facts = facts(at, &name)?;
        Ok(Self { name, way, facts })
    }

    /// Its catalogs in each environment, through each door, as the Master of Masters compiles them.
    pub(super) async fn through(&self, at: &Enrolling<'_>, doors: &[AskedDoor<'_>]) -> Result<Facts, Stop> {
        let (mut asked, mut took, mut same) = (0_u64, Vec::new(), Vec::new());
        for environment in &at.site.settings.canary.environments {
            let environment = environment.as_str();
            let mut resources = 0;
            for door in doors {
                let before = self.counted(at, door).await?;
                let began = Instant::now();
                let own = self.catalog(at, Some(door), environment).await?;
                took.push(began.elapsed());
                let after = self.counted(at, door).await?;
                if after <= before {
                    let reason =
                        format!("{} gave the canary a catalog, and not from {}", door.name(), at.master());
                    let way_out =
                        "see that `agents` of that door in the settings leads to that door, then resume";
                    return Err(Stop::new(StopKind::Refused, reason, way_out));
                }
                asked += 1;
                resources = self.same(at, own, environment).await?;
            }
            same.push(format!("{environment} {resources} resources"));
        }
        let (first, last) = self.warm_up(at, doors.first()).await?;
        let cold = took.first().map_or(0, Duration::as_millis);
        Ok(Facts::none()
            .and("as_the_moms", same.join(", "))
            .and("catalogs", (asked + u64::from(at.site.settings.canary.compiles)).to_string())
            .and("milliseconds", format!("{cold} cold, {} to {} warm", first.as_millis(), last.as_millis())))
    }

    /// The same from an open master itself, which ends agents' TLS.
    pub(super) async fn direct(&self, at: &Enrolling<'_>) -> Result<Facts, Stop> {
        let mut same = Vec::new();
        for environment in &at.site.settings.canary.environments {
            let environment = environment.as_str();
            let own = self.catalog(at, None, environment).await?;
            let resources = self.same(at, own, environment).await?;
            same.push(format!("{environment} {resources} resources"));
        }
        let (first, last) = self.warm_up(at, None).await?;
        let facts = Facts::none().and("as_the_moms", same.join(", "));
        Ok(facts.and("milliseconds", format!("{} to {} warm", first.as_millis(), last.as_millis())))
    }

    /// Asks the Master of Masters as the canary.
    pub(super) async fn ask_mom(&self, at: &Enrolling<'_>, question: &Question) -> Result<Answer, Stop> {
        let mom = &at.site.settings.mom;
        Ok(self.way.ask(&mom.certname, &mom.address, question).await?)
    }

    /// Asks the new master as the canary: through a door, or itself where it is open.
    pub(super) async fn ask_master(
        &self,
        at: &Enrolling<'_>,
        door: Option<&AskedDoor<'_>>,
        question: &Question,
    ) -> Result<Answer, Stop> {
        Ok(match door {
            Some(door) => self.way.ask(door.name(), door.agents(), question).await?,
            None => self.way.ask(at.master(), at.plan.address(), question).await?,
        })
    }

    async fn catalog(
        &self,
        at: &Enrolling<'_>,
        door: Option<&AskedDoor<'_>>,
        environment: &str,
    ) -> Result<Catalog, Stop> {
        let answer = self.ask_master(at, door, &self.question(at, environment)).await?;
        if answer.status.is_success() {
            let read = Catalog::read(&answer.body);
            return read.map_err(|error| here(&format!("what {} compiled", at.master()), &error));
        }
        let mut reason = format!(
            "{} does not compile the canary's catalog in {environment}: {}",
            at.master(),
            answer.words()
        );
        // A site's code may want more of a node than the canary is; then it is nobody's fault but the canary's.
        let moms = self.ask_mom(at, &self.question(at, environment)).await;
        let way_out = match moms {
            Ok(moms) if !moms.status.is_success() => {
                reason.push_str(&format!(" (nor does the Master of Masters: {})", moms.words()));
                "give the canary the facts that the site's code wants, with `facts` under [canary], then resume"
            }
            _ => {
                "see that every ordered run has taken it up: its name must be on PuppetDB's certificate-allowlist, and \
                 PuppetDB restarted since; then resume"
            }
        };
        Err(Stop::new(StopKind::Refused, reason, way_out))
    }

    /// How many resources the catalog has, which must be those of the Master of Masters'.
    async fn same(&self, at: &Enrolling<'_>, own: Catalog, environment: &str) -> Result<usize, Stop> {
        let mom = &at.site.settings.mom;
        let answer = self.ask_mom(at, &self.question(at, environment)).await?;
        if !answer.status.is_success() {
            let reason = format!(
                "{} does not compile the canary's catalog in {environment}: {}",
                mom.certname,
                answer.words()
            );
            let way_out = "see the Master of Masters' puppetserver.log, then resume";
            return Err(Stop::new(StopKind::Failed, reason, way_out));
        }
        let moms = Catalog::read(&answer.body)
            .map_err(|error| here("what the Master of Masters compiled", &error))?;
        let names = own_names(at).await;
        let settle = |catalog: Catalog| catalog.under(&names).without(&at.site.settings.canary.ignore);
        let (own, moms) = (settle(own), settle(moms));
        let differences = own.differences(&moms);
        if differences.is_empty() {
            return Ok(own.resources());
        }
        let reason = format!(
            "the canary's catalog in {environment} is not the one of the Master of Masters: {}",
            differences.join("; ")
        );
        let way_out = "see that code, hiera data and modules are the same on both; what may differ goes under `ignore` in \
                       [canary]; then resume";
        Err(Stop::new(StopKind::Refused, reason, way_out))
    }

    /// Catalogs at once, so that each JRuby gets one; gives the shortest and the longest time.
    async fn warm_up(
        &self,
        at: &Enrolling<'_>,
        door: Option<&AskedDoor<'_>>,
    ) -> Result<(Duration, Duration), Stop> {
        let environment =
            at.site.settings.canary.environments.first().map_or("production", |first| first.as_str());
        let (name, address) = match door {
            Some(door) => (door.name().clone(), door.agents().to_owned()),
            None => (at.master().clone(), at.plan.address().to_owned()),
        };
        let mut all = JoinSet::new();
        for _ in 0..at.site.settings.canary.compiles {
            let (way, question) = (self.way.clone(), self.question(at, environment));
            let (name, address) = (name.clone(), address.clone());
            all.spawn(async move {
                let began = Instant::now();
                let answer = way.ask(&name, &address, &question).await;
                (answer, began.elapsed())
            });
        }
        let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
        while let Some(done) = all.join_next().await {
            let (answer, took) = done.map_err(|error| here("warming", &error))?;
            let answer = answer?;
            if !answer.status.is_success() {
                let reason =
                    format!("{} compiled one catalog, and not the next: {}", at.master(), answer.words());
                return Err(Stop::new(StopKind::Refused, reason, "see its puppetserver.log, then resume"));
            }
            (first, last) = (first.min(took), last.max(took));
        }
        Ok((first.min(last), last))
    }

    /// As an agent asks for its catalog.
    fn question(&self, at: &Enrolling<'_>, environment: &str) -> Question {
        let facts = json!({ "name": self.name, "values": self.facts });
        let old = at.site.settings.preset.is_java_7();
        let format = if old { "pson" } else { "application/json" };
        let form = format!(
            "environment={environment}&facts_format={}&facts={}&transaction_uuid={}&static_catalog=false",
            encoded(format),
            // As agents do: once for itself, and once more for the form.
            encoded(&encoded(&facts.to_string())),
            transaction(),
        );
        let path = match old {
            true => format!("/{environment}/catalog/{}", self.name),
            false => format!("/puppet/v3/catalog/{}?environment={}", self.name, encoded(environment)),
        };
        Question::of(Method::POST, path)
            .body("application/x-www-form-urlencoded", form)
            .header(header::ACCEPT, "application/vnd.puppet.rich+json, application/json, text/pson")
            .header(http::HeaderName::from_static("x-puppet-version"), VERSION)
            .within(CATALOG)
            .shown()
    }

    /// How many of its catalogs the master has compiled, as this door counted.
    async fn counted(&self, at: &Enrolling<'_>, door: &AskedDoor<'_>) -> Result<u64, Stop> {
        let masters = door.masters().await?;
        let canary = view(&masters.masters, at.master()).and_then(|view| view.canary);
        Ok(canary.map_or(0, |canary| canary.compiled))
    }
}

/// The canary is no node any more. What masters said of it may still be in PuppetDB's queue, so it is said whether PuppetDB
/// knows of it or not.
pub(in crate::steps) async fn leaves(at: &Enrolling<'_>) -> Result<(), Stop> {
    match PuppetDb::of(at.site) {
        Some(puppetdb) => puppetdb.deactivate(&at.canary()?).await,
        None => Ok(()),
    }
}

/// The same after a while: what came in between, from a master whose clock is ahead, has made it a node again. Whether
/// PuppetDB says so in the end.
pub(in crate::steps) async fn has_left(at: &Enrolling<'_>) -> Result<bool, Stop> {
    let Some(puppetdb) = PuppetDb::of(at.site) else { return Ok(true) };
    let name = at.canary()?;
    if !puppetdb.is_active(&name).await? {
        return Ok(true);
    }
    puppetdb.deactivate(&name).await?;
    let began = Instant::now();
    while began.elapsed() < TAKEN_IN {
        sleep(BETWEEN).await;
        if !puppetdb.is_active(&name).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same at every master and at every time: a few that code asks of every node, and those of the settings.
fn facts(at: &Enrolling<'_>, name: &Certname) -> Result<Value, Stop> {
    let (host, domain) = name.as_str().split_once('.').unwrap_or((name.as_str(), ""));
    let mut facts = json!({
        "clientcert": name, "clientversion": VERSION, "clientnoop": false, "puppetversion": VERSION,
        "fqdn": name, "hostname": host, "domain": domain, "ipaddress": "192.0.2.1",
        "networking": { "fqdn": name, "hostname": host, "domain": domain, "ip": "192.0.2.1" },
        "kernel": "Linux", "osfamily": "Debian", "operatingsystem": "Debian", "operatingsystemrelease": "12.0",
        "os": { "family": "Debian", "name": "Debian", "architecture": "amd64",
                "release": { "full": "12.0", "major": "12", "minor": "0" } },
        "architecture": "amd64", "is_virtual": true, "virtual": "kvm",
    });
    let Some(path) = &at.site.settings.canary.facts else { return Ok(facts) };
    let text = read::text(path).map_err(|error| here("the canary's facts", &error))?;
    match (serde_json::from_str::<Value>(&text), facts.as_object_mut()) {
        (Ok(Value::Object(more)), Some(all)) => {
            all.extend(more);
            Ok(facts)
        }
        (Err(error), _) => Err(here(&path.display().to_string(), &error)),
        _ => {
            let reason = format!("{}: expected one JSON object of facts", path.display());
            Err(Stop::new(StopKind::Refused, reason, "correct the file, then resume"))
        }
    }
}

/// The names and addresses of either server, which stand in catalogs that mention their own server.
async fn own_names(at: &Enrolling<'_>) -> Vec<Own> {
    let mom = &at.site.settings.mom;
    let mut all = vec![Own { masters: at.master().to_string(), moms: mom.certname.to_string() }];
    let address = async |at: &str| {
        let mut found = tokio::net::lookup_host(at).await.ok()?;
        found.next().map(|address| address.ip().to_string())
    };
    if let (Some(masters), Some(moms)) = (address(at.plan.address()).await, address(&mom.address).await)
        && masters != moms
    {
        all.push(Own { masters, moms });
    }
    all
}

/// A random UUID, as agents make one for each run.
fn transaction() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    let version = (high & !0xf000) | 0x4000;
    let variant = (low & !(0xc000 << 48)) | (0x8000 << 48);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        version >> 32,
        (version >> 16) & 0xffff,
        version & 0xffff,
        variant >> 48,
        variant & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::transaction;

    #[test]
    fn a_transaction_is_named_as_agents_name_theirs() {
        let one = transaction();
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(one.as_bytes()[14] == b'4' && b"89ab".contains(&one.as_bytes()[19]), "{one}");
        assert_ne!(one, transaction());
    }
}
