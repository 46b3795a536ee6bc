//! Everything is there that the later steps need: names, ports, clocks, certificates, and no agent yet.
//!
//! The installation's own servers are asked what they will be asked later, so that a name that does not resolve, a port
//! that is shut and a certificate that is on no list are found before anything is changed. What a machine needs of
//! another is tried on that machine. A clock that is wrong is a warning: no step compares one with another's.

use std::time::{SystemTime, UNIX_EPOCH};

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Preset, Server};

use super::{Enrolling, Look, and_missing};
use crate::ask::Question;
use crate::ca::Ca;
use crate::pipeline::{Facts, Looked, Stop, StopKind};
use crate::runs::latest::in_puppetdb;
use crate::shell::CommandLine;
use crate::site::not_run;

/// Clocks further apart than this make certificates that are not valid yet.
const APART: u64 = 120;

/// What a machine says of itself, and of each `host:port` in its arguments that it does not reach.
const SCRIPT: &str = r#"
for to; do
  host=${to%:*}; port=${to##*:}
  if ! getent hosts "$host" >/dev/null 2>&1; then echo "name $host"; continue; fi
  timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2"' stagedoor "$host" "$port" 2>/dev/null || echo "port $to"
done
echo "clock $(date -u +%s)"
echo "machine $(uname -m) $(. /etc/os-release 2>/dev/null; echo "${ID:-unknown} ${VERSION_ID:-}")"
"#;

pub(super) async fn look(at: &Enrolling<'_>) -> Look {
    let settings = &at.site.settings;
    let mut facts = Facts::none();
    servers(at).await?;
    let (_, missing) = at.doors().await?;
    facts = and_missing(facts, &missing);

    if at.site.shell.is_there() {
        let new = machine(at, at.master()).await?;
        let mom = machine(at, &settings.mom.certname).await?;
        let mut apart = Vec::new();
        for stage in at.plan.stages() {
            for host in stage.iter().filter(|host| *host != at.master() && **host != settings.mom.certname) {
                let there = machine(at, host).await?;
                apart.extend(there.clock_apart().map(|by| format!("{host} by {by} s")));
            }
        }
        apart.extend(new.clock_apart().map(|by| format!("{} by {by} s", at.master())));
        apart.extend(mom.clock_apart().map(|by| format!("{} by {by} s", settings.mom.certname)));
        if !apart.is_empty() {
            facts = facts.and("warning_clocks", format!("differ from this machine's: {}", apart.join(", ")));
        }
        if new.kind != mom.kind {
            let words = format!("{} here, {} on the Master of Masters", new.kind, mom.kind);
            facts = facts.and("warning_system", words);
        }
        facts = facts.and("system", new.kind);
    } else {
        facts = facts.and("warning_machines", "not looked at: there is no [ssh]");
    }
    who_is_it(at, facts).await.map(Looked::There)
}

/// Asks each server of the installation something that it will be asked later.
async fn servers(at: &Enrolling<'_>) -> Result<(), Stop> {
    let settings = &at.site.settings;
    if settings.preset != Preset::Pe3 {
        // Java 7 is recognised here, before a later step would stumble over it.
        let question = Question::get("/puppet-ca/v1/certificate/ca");
        let answer = at.site.ask(&settings.mom, &question).await?;
        if !answer.status.is_success() {
            let reason = format!("{} answered {} about its own CA", settings.mom.address, answer.words());
            return Err(Stop::new(StopKind::Failed, reason, "see that it holds the CA, then resume"));
        }
    }
    if let Some(puppetdb) = in_puppetdb(at.site) {
        puppetdb.reports(at.master()).await?;
    }
    crate::pe::preflight(at.site).await
}

/// Whether the machine and its name are as the procedure wants them: without an agent, or with one.
async fn who_is_it(at: &Enrolling<'_>, facts: Facts) -> Result<Facts, Stop> {
    let (ca, master) = (Ca::of(at.site), at.master());
    let certificate = ca.certificate(master).await?;
    if at.adopts() {
        if certificate.is_none() {
            let reason = format!("the CA has no certificate of {master}: it does not serve here yet");
            return Err(Stop::new(StopKind::Refused, reason, "use `enroll` for a new master"));
        }
        return Ok(facts.and("agent", "there"));
    }
    let known = match certificate {
        Some(_) => Some("a certificate"),
        None => ca.request(master).await?.map(|_| "a request"),
    };
    if let Some(what) = known {
        let reason = format!("the CA has {what} of {master} already: that machine has, or had, an agent");
        let way_out = format!(
            "use `adopt` for a master that serves; else remove the agent there, and on {} `puppetserver ca clean \
             --certname {master}` (`puppet cert clean {master}` before version 6), then resume",
            at.site.settings.mom.certname
        );
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    // An installation of its own kind may have the package in its images; Puppet Enterprise's procedure forbids it.
    if at.site.settings.preset.has_console() && at.site.shell.is_there() && has_agent(at, master).await? {
        let reason = format!("there is an agent on {master} already: the procedure begins without one");
        let way_out =
            format!("use `adopt` for a master that serves; else remove the agent on {master}, then resume");
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    Ok(facts.and("agent", "none"))
}

/// Whether the `puppet` program is on a machine.
pub(super) async fn has_agent(at: &Enrolling<'_>, host: &Certname) -> Result<bool, Stop> {
    let line = CommandLine::of(["test", "-x", &at.site.puppet_program()]);
    let line = line.map_err(|error| not_run(&error.into()))?;
    Ok(at.site.shell.look(host, &line).await?.code == 0)
}

/// What a machine says of itself.
struct Machine {
    /// Architecture and system.
    kind: String,
    /// Its clock, and ours before and after it was asked.
    clock: u64,
    between: (u64, u64),
}

impl Machine {
    /// By how many seconds its clock is further from ours than is good.
    fn clock_apart(&self) -> Option<u64> {
        let (before, after) = self.between;
        let apart = before.saturating_sub(self.clock).max(self.clock.saturating_sub(after));
        (apart > APART).then_some(apart)
    }
}

/// Looks at a machine of the installation, which must reach the servers it will need.
async fn machine(at: &Enrolling<'_>, host: &Certname) -> Result<Machine, Stop> {
    let settings = &at.site.settings;
    let by_name = |server: &Server| {
        // An agent and a server dial the name, wherever this program reaches it.
        let port = server.address.rsplit(':').next().unwrap_or_default();
        format!("{}:{port}", server.certname)
    };
    let mut needs = vec![by_name(&settings.mom)];
    if host == at.master() {
        needs.extend(settings.puppetdb.as_ref().map(by_name));
    }
    let line = CommandLine::script(SCRIPT, &needs).map_err(|error| not_run(&error.into()))?;
    let before = now();
    let ended = at.site.shell.look(host, &line).await?;
    let after = now();
    let word = |name: &str| ended.out.lines().find_map(|line| line.strip_prefix(name));
    if let Some(name) = word("name ") {
        let reason = format!("{host} does not know the name {name}");
        return Err(Stop::new(
            StopKind::Refused,
            reason,
            format!("have {name} resolve on {host}, then resume"),
        ));
    }
    if let Some(to) = word("port ") {
        let reason = format!("{host} cannot connect to {to}");
        let way_out = format!("let {host} through to {to}, and see that it listens there, then resume");
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    let clock = word("clock ").and_then(|clock| clock.trim().parse().ok());
    match (clock, word("machine ")) {
        (Some(clock), Some(kind)) => {
            Ok(Machine { kind: kind.trim().to_owned(), clock, between: (before, after) })
        }
        _ => {
            let reason =
                format!("{host}: a shell there did not say what it was asked: {}", ended.last_words());
            Err(Stop::new(
                StopKind::Failed,
                reason,
                "see that its login shell is quiet and works, then resume",
            ))
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_apart_beyond_what_asking_took() {
        let machine = |clock, between| Machine { kind: String::new(), clock, between };
        assert_eq!(machine(1000, (990, 1001)).clock_apart(), None);
        assert_eq!(machine(1000 + APART, (990, 1000)).clock_apart(), None);
        assert_eq!(machine(1001 + APART, (990, 1000)).clock_apart(), Some(121));
        assert_eq!(machine(0, (500, 501)).clock_apart(), Some(500));
    }
}
