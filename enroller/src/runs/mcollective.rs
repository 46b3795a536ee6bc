//! A run by MCollective, from the Master of Masters: what the console's Live Management did.
//!
//! `mco` is there for the user `peadmin` alone, who has its settings and its key; root becomes that user by `su`. It is
//! asked by `mco rpc`, which answers in JSON where `mco puppet` has words for people, and is the same action. A run has
//! ended when nothing is being applied and the time of the last run has moved: that is all that MCollective says. How it
//! ended stands in the report that the machine's agent keeps.

use std::time::Duration;

use serde::Deserialize;
use stagedoor_config::certname::Certname;
use tokio::time::{Instant, sleep};

use super::own::{self, Try};
use crate::pipeline::{Facts, Stop, StopKind};
use crate::shell::CommandLine;
use crate::site::{Site, not_run};

/// Who may ask.
const WHO: &str = "peadmin";
/// Between two looks at a run: each costs the middleware some seconds.
const BETWEEN: Duration = Duration::from_secs(2);
/// For a machine to be heard of, whose agent was installed minutes ago, or whose run has restarted MCollective.
const HEARD: Duration = Duration::from_secs(2 * 60);

/// One machine's reply.
#[derive(Debug, Deserialize)]
struct Reply {
    sender: String,
    statuscode: i64,
    #[serde(default)]
    statusmsg: String,
    #[serde(default)]
    data: Status,
}

/// What the action `status` says of an agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    applying: bool,
    enabled: Option<bool>,
    disable_message: Option<String>,
    /// When it last applied a catalog, by its machine's own clock: compared with itself alone.
    lastrun: i64,
}

/// Starts a run and waits for its end, and before that for the end of a run that is in progress.
pub(super) async fn run(site: &Site, host: &Certname) -> Result<Facts, Stop> {
    own::run(site, host, "mcollective", || once(site, host)).await
}

async fn once(site: &Site, host: &Certname) -> Result<Try, Stop> {
    let before = loop {
        let status = status(site, host).await?;
        if status.enabled == Some(false) {
            let said = status.disable_message.filter(|said| !said.is_empty()).map(|said| format!(": {said}"));
            let reason = format!("the agent on {host} is disabled{}", said.unwrap_or_default());
            return Err(Stop::new(StopKind::Refused, reason, "`puppet agent --enable` there, then resume"));
        }
        // The step's deadline ends this.
        if !status.applying && started(site, host).await? {
            break status.lastrun;
        }
        sleep(BETWEEN).await;
    };
    loop {
        let status = status(site, host).await?;
        if !status.applying && status.lastrun > before {
            return Ok(Try::Over);
        }
        sleep(BETWEEN).await;
    }
}

/// What an agent is at, once its machine is heard of.
async fn status(site: &Site, host: &Certname) -> Result<Status, Stop> {
    let began = Instant::now();
    loop {
        match ask(site, host, &["status"]).await? {
            Some(Reply { statuscode: 0, data, .. }) => return Ok(data),
            Some(reply) => return Err(refused(host, "status", &reply)),
            None if began.elapsed() > HEARD => {
                let reason = format!("MCollective does not hear of {host}");
                let way_out = format!(
                    "see that pe-mcollective runs there and gets to the ActiveMQ broker (port 61613): `mco ping` on {} as \
                     {WHO} shows who answers; then resume",
                    site.settings.mom.certname
                );
                return Err(Stop::new(StopKind::Failed, reason, way_out));
            }
            None => sleep(BETWEEN).await,
        }
    }
}

/// Starts a run at once; false while another is in progress. Where the agent's daemon runs, it is told to run; else a
/// run is started, which without `force` would wait for a random time.
async fn started(site: &Site, host: &Certname) -> Result<bool, Stop> {
    match ask(site, host, &["runonce", "force=true"]).await? {
        Some(Reply { statuscode: 0, .. }) => Ok(true),
        Some(reply) if reply.statusmsg.contains("currently applying") => Ok(false),
        Some(reply) => Err(refused(host, "runonce", &reply)),
        // Whether it was told nobody knows; it is asked again, and says then what it is at.
        None => Ok(false),
    }
}

fn refused(host: &Certname, action: &str, reply: &Reply) -> Stop {
    let reason = format!("{host}: `mco puppet {action}` came to: {}", reply.statusmsg);
    Stop::new(StopKind::Failed, reason, "put right what it says there, then resume")
}

/// One action of the agent `puppet` on one machine; none where it does not reply.
async fn ask(site: &Site, host: &Certname, action: &[&str]) -> Result<Option<Reply>, Stop> {
    let mom = &site.settings.mom.certname;
    let program = site.settings.runs.puppet.with_file_name("mco").display().to_string();
    let words = [program.as_str(), "rpc", "puppet"].into_iter().chain(action.iter().copied());
    let line = CommandLine::of(words.chain(["-I", host.as_str(), "--json"]));
    let line = line.map_err(|error| not_run(&error.into()))?;
    // What stands on its standard input it would take for a list of machines.
    let inner = format!("{} </dev/null", line.as_str());
    let line = CommandLine::of(["su", "-", WHO, "-c", &inner]).map_err(|error| not_run(&error.into()))?;
    let ended = site.shell.look(mom, &line).await?;
    read(&ended.out, host).ok_or_else(|| {
        let reason = format!("{mom}: `mco rpc puppet` ended with {}: {}", ended.code, ended.last_words());
        Stop::new(StopKind::Failed, reason, format!("see that `mco ping` works there as {WHO}, then resume"))
    })
}

/// The machine's reply in what `mco` printed; none where that is no list of replies.
fn read(out: &str, host: &Certname) -> Option<Option<Reply>> {
    // A login shell may have said something before it.
    let list = out.lines().find(|line| line.trim_start().starts_with('['))?;
    let replies: Vec<Reply> = serde_json::from_str(list.trim()).ok()?;
    Some(replies.into_iter().find(|reply| reply.sender == host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Certname {
        Certname::parse_host("db.example.com").unwrap()
    }

    #[test]
    fn a_reply_is_the_machines_own() {
        let out = "Last login: never\n[{\"agent\":\"puppet\",\"action\":\"status\",\"sender\":\"db.example.com\",\
                   \"statuscode\":0,\"statusmsg\":\"OK\",\"data\":{\"applying\":true,\"enabled\":true,\"idling\":false,\
                   \"daemon_present\":true,\"lastrun\":1417000000,\"since_lastrun\":60,\"status\":\"applying a catalog\",\
                   \"disable_message\":\"\",\"message\":\"Currently applying a catalog\"}}]\n";
        let reply = read(out, &host()).unwrap().unwrap();
        assert!(reply.data.applying && reply.data.lastrun == 1_417_000_000);
        let other = out.replace("db.example.com", "web.example.com");
        assert!(read(&other, &host()).unwrap().is_none() && read("[]", &host()).unwrap().is_none());
        for bad in ["", "The puppet application failed to run", "[{\"sender\":1}]", "{}"] {
            assert!(read(bad, &host()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_reply_that_says_no_has_no_data() {
        let out = "[{\"sender\":\"db.example.com\",\"statuscode\":1,\"statusmsg\":\"Puppet is disabled: 'x'\",\"data\":{}}]";
        let reply = read(out, &host()).unwrap().unwrap();
        assert_eq!((reply.statuscode, refused(&host(), "runonce", &reply).kind), (1, StopKind::Failed));
    }
}
