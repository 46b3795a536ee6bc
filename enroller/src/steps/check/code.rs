//! Whether a new master has the code that the Master of Masters has.

use std::time::Duration;

use http::header;
use serde_json::Value;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Compared;
use stagedoor_config::environment::Environment;
use tokio::time::{Instant, sleep};

use super::canary::Canary;
use crate::ask::Question;
use crate::doors::AskedDoor;
use crate::pipeline::{Stop, StopKind};
use crate::puppetdb::encoded;
use crate::runs::program;
use crate::shell::CommandLine;
use crate::site::not_run;
use crate::steps::{BETWEEN, Enrolling};

/// For code that is on its way: file sync looks each five seconds, and a deployment goes from master to master.
const ON_ITS_WAY: Duration = Duration::from_secs(90);

/// `$1` is the puppet program, `$2` the environment: prints what r10k left in it.
const SIGNATURE: &str = r#"
paths=$("$1" config print environmentpath --section server) || exit 1
IFS=:
for path in $paths; do
  if [ -e "$path/$2/.r10k-deploy.json" ]; then cat "$path/$2/.r10k-deploy.json"; exit 0; fi
done
echo "no .r10k-deploy.json in $2 below $paths" >&2
exit 3
"#;

/// How the code was compared and what it is, in words; waits for code that is on its way.
pub(super) async fn compared(
    at: &Enrolling<'_>,
    canary: &Canary,
    doors: &[AskedDoor<'_>],
) -> Result<String, Stop> {
    let began = Instant::now();
    let mut all = Vec::new();
    for environment in &at.site.settings.canary.environments {
        loop {
            let (moms, own) = versions(at, canary, doors, environment).await?;
            if moms == own {
                all.push(format!("{} {}", environment.as_str(), short(&moms)));
                break;
            }
            if began.elapsed() > ON_ITS_WAY {
                return Err(behind(at, environment, &moms, &own));
            }
            sleep(BETWEEN).await;
        }
    }
    let how = match at.site.settings.code {
        Compared::R10k => "r10k",
        Compared::FileSync => "file-sync",
        Compared::Command(_) => "command",
        Compared::Classes => "classes (weak)",
    };
    Ok(format!("{how}: {}", all.join(", ")))
}

fn behind(at: &Enrolling<'_>, environment: &Environment, moms: &str, own: &str) -> Stop {
    let (master, mom, environment) = (at.master(), &at.site.settings.mom.certname, environment.as_str());
    let reason =
        format!("the code of {environment} on {master} is {}, and {} on {mom}", short(own), short(moms));
    let way_out = format!("deploy {environment} to {master}, then resume");
    Stop::new(StopKind::Refused, reason, way_out)
}

/// What the Master of Masters has, and what the new master has.
async fn versions(
    at: &Enrolling<'_>,
    canary: &Canary,
    doors: &[AskedDoor<'_>],
    environment: &Environment,
) -> Result<(String, String), Stop> {
    let mom = &at.site.settings.mom.certname;
    match &at.site.settings.code {
        Compared::R10k => {
            Ok((signature(at, mom, environment).await?, signature(at, at.master(), environment).await?))
        }
        Compared::Command(command) => {
            let said = async |host: &Certname| match program(command, host).await?.trim() {
                "" => {
                    let reason = format!("the command under [code] says nothing of {host}");
                    let way_out = "have it print the version of the code that is on that host, then resume";
                    Err(Stop::new(StopKind::Refused, reason, way_out))
                }
                version => Ok(version.to_owned()),
            };
            Ok((said(mom).await?, said(at.master()).await?))
        }
        Compared::FileSync => file_sync(at, environment).await,
        Compared::Classes => classes(at, canary, doors, environment).await,
    }
}

async fn signature(at: &Enrolling<'_>, host: &Certname, environment: &Environment) -> Result<String, Stop> {
    let puppet = at.site.puppet_program();
    let line = CommandLine::script(SIGNATURE, [puppet.as_str(), environment.as_str()]);
    let line = line.map_err(|error| not_run(&error.into()))?;
    let ended = at.site.shell.look(host, &line).await?;
    let found: Option<Value> = serde_json::from_str(&ended.out).ok();
    let signature = found.as_ref().and_then(|found| found.get("signature")).and_then(Value::as_str);
    match signature {
        Some(signature) if ended.code == 0 => Ok(signature.to_owned()),
        _ => {
            let reason =
                format!("{host}: r10k left no signature in {}: {}", environment.as_str(), ended.last_words());
            let way_out =
                "deploy it there with r10k, or say under [code] how code is compared here, then resume";
            Err(Stop::new(StopKind::Refused, reason, way_out))
        }
    }
}

/// What file sync has handed out, and what the new master says it has.
async fn file_sync(at: &Enrolling<'_>, environment: &Environment) -> Result<(String, String), Stop> {
    let mom = &at.site.settings.mom;
    let question = Question::get("/status/v1/services/file-sync-storage-service?level=debug");
    let answer = at.site.ask(mom, &question).await?;
    let status: Value = answer.read(&mom.address)?;
    let repos = status.pointer("/status/repos");
    let of = |repos: Option<&Value>| -> Option<String> {
        let code = repos?.get("puppet-code")?;
        let submodule = code.get("submodules").and_then(|all| all.get(environment.as_str())).unwrap_or(code);
        Some(submodule.pointer("/latest_commit/commit")?.as_str()?.to_owned())
    };
    let Some(moms) = of(repos) else {
        let reason = format!("{}: file sync says nothing of {}", mom.address, environment.as_str());
        let way_out =
            "deploy it with Code Manager, or say under [code] how code is compared here, then resume";
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    };
    let clients = status.pointer("/status/clients").and_then(Value::as_object);
    // A client is told by its address, whose host is its certname.
    let own = clients.into_iter().flatten().find(|(client, _)| {
        client.as_str() == at.master().as_str() || client.contains(&format!("//{}:", at.master()))
    });
    Ok((
        moms,
        of(own.and_then(|(_, client)| client.get("repos"))).unwrap_or_else(|| "nothing yet".to_owned()),
    ))
}

/// Signatures of classes, as either server has them for the canary.
async fn classes(
    at: &Enrolling<'_>,
    canary: &Canary,
    doors: &[AskedDoor<'_>],
    environment: &Environment,
) -> Result<(String, String), Stop> {
    let question = Question::get(format!(
        "/puppet/v3/environment_classes?environment={}",
        encoded(environment.as_str())
    ))
    .shown();
    let moms = canary.ask_mom(at, &question).await?;
    let own = canary.ask_master(at, doors.first(), &question).await?;
    let tag = |answer: &crate::ask::Answer, who: &Certname| {
        let tag = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        tag.map(|tag| tag.trim_matches('"').trim_end_matches("--gzip").to_owned()).ok_or_else(|| {
            let reason = format!("{who} does not say which classes it has: {}", answer.words());
            let way_out =
                "let nodes ask for environment_classes in auth.conf, or compare code otherwise, then resume";
            Stop::new(StopKind::Refused, reason, way_out)
        })
    };
    Ok((tag(&moms, &at.site.settings.mom.certname)?, tag(&own, at.master())?))
}

/// As much of a version as people compare.
fn short(version: &str) -> String {
    version.chars().take(40).collect()
}
