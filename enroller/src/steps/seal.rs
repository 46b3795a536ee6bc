//! The isolation of a new master, by Puppet code and a run of its own; seen from outside.
//!
//! A sealed master refuses whoever shows no certificate of a door: nobody's, and that of a node of the Puppet CA, which
//! this program has. It does so from its restart on, so that a refusal after an answer shows the restart as well. The
//! doors look for themselves before they send it anything, and for ever.

use std::time::Duration;

use stagedoor_config::enroller::Runner;
use stagedoor_config::master::{Isolation, Kind};
use tokio::time::{Instant, sleep};

use super::{Act, BETWEEN, Enrolling, Look};
use crate::ask::Stranger;
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToAct, ToLook};
use crate::runs;

/// Answers for so long without a gap, after a run that was to seal it, are no restart that is still to come.
const NO_RESTART: Duration = Duration::from_secs(60);

pub(super) async fn look(at: &Enrolling<'_>, task: &ToLook) -> Look {
    match at.site.settings.master.kind {
        Kind::Open { .. } => return Ok(Looked::There(Facts::none().and("kind", "open"))),
        Kind::Sealed { isolation: Isolation::Firewall } => {
            // From here nobody can tell whether others get there.
            let facts = Facts::none().and("kind", "sealed").and("isolation", "firewall, tested by the doors");
            return Ok(Looked::There(facts));
        }
        Kind::Sealed { isolation: Isolation::DoorCa } => {}
    }
    let was_open = task.known().noted.as_ref().is_some_and(|noted| noted.get("answered").is_some());
    let mut answers_since = None;
    // Where its own daemon has it run, that may be half an hour away: the step's deadline ends the waiting.
    let no_restart = match at.site.settings.runs.runner {
        Runner::Observe => Duration::MAX,
        _ => NO_RESTART,
    };
    loop {
        let met = strangers(at).await;
        if !matches!(met, Strangers::Answered(_)) {
            answers_since = None;
        }
        match met {
            Strangers::Refused(alerts) => {
                let facts = Facts::none().and("kind", "sealed").and("refused", alerts);
                let facts = if was_open { facts.and("restart", "seen") } else { facts };
                return Ok(Looked::There(facts));
            }
            Strangers::Answered(line) if !task.is_again() => {
                return Ok(Looked::Missing(Facts::none().and("answered", line)));
            }
            Strangers::Answered(line)
                if answers_since.get_or_insert_with(Instant::now).elapsed() > no_restart =>
            {
                let reason = format!("{} answers strangers after its run: {line}", at.master());
                let way_out = "have its classes seal it (stagedoor::sealed, with its restart), then resume";
                return Err(Stop::new(StopKind::Refused, reason, way_out));
            }
            // A restart may come a while after the run that asked for it; the step's deadline ends the waiting.
            Strangers::Answered(_) => sleep(BETWEEN).await,
            Strangers::Unknown(why) if !task.is_again() => {
                return Ok(Looked::Missing(Facts::none().and("unknown", why)));
            }
            Strangers::Unknown(_) => sleep(BETWEEN).await,
        }
    }
}

pub(super) async fn act(at: &Enrolling<'_>, task: &ToAct) -> Act {
    if let Some(command) = &at.site.settings.seal {
        runs::program(command, at.master()).await?;
    }
    runs::run(at.site, at.master(), &at.purpose(task)).await
}

/// What strangers met.
pub(super) enum Strangers {
    /// All were refused, by these alerts.
    Refused(String),
    /// One was answered.
    Answered(String),
    /// One was neither, and none was answered.
    Unknown(String),
}

/// Comes as nobody and as a node of the Puppet CA, in another's name.
pub(super) async fn strangers(at: &Enrolling<'_>) -> Strangers {
    let request = format!(
        "GET /puppet/v3/node/{mom}?environment=production HTTP/1.1\r\nHost: {name}\r\nX-Client-Verify: SUCCESS\r\n\
         X-Client-DN: CN={mom}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        mom = at.site.settings.mom.certname,
        name = at.master(),
    );
    let mut alerts = Vec::new();
    for (shows, who) in [(false, "nobody"), (true, "a node")] {
        if shows && at.site.settings.identity.is_none() {
            continue;
        }
        let met = at.site.https.come_as_stranger(at.master(), at.plan.address(), shows, &request).await;
        match met {
            Stranger::Refused { alert } => alerts.push(format!("{who} by {alert}")),
            Stranger::Answered { line } => return Strangers::Answered(format!("{who} was answered {line}")),
            Stranger::Unknown { why } => return Strangers::Unknown(format!("{who}: {why}")),
        }
    }
    Strangers::Refused(alerts.join(", "))
}
