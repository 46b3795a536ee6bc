//! What each step would do, in words.

use stagedoor_config::enroller::{By, Compared, Runner};
use stagedoor_config::master::{Isolation, Kind};

use super::Enrolling;
use crate::pe;
use crate::pipeline::Step;

/// What acting on a step would be.
#[must_use]
pub fn would(at: &Enrolling<'_>, step: &Step) -> String {
    let settings = &at.site.settings;
    let (master, mom) = (at.master(), &settings.mom.certname);
    let doors: Vec<&str> = settings.doors.iter().map(|door| door.certname.as_str()).collect();
    let doors = doors.join(", ");
    match step {
        Step::Preflight | Step::Evidence { .. } => "look, and change nothing".to_owned(),
        Step::Install => match &settings.install.by {
            By::Script => {
                format!("fetch {mom}'s own /packages/current/install.bash on {master} and run it there")
            }
            By::Settings => {
                format!("write server = {mom} and the alternative names into {master}'s puppet.conf")
            }
            By::Command(command) => format!("run {}", command.join(" ")),
        },
        Step::Sign => {
            let names = &settings.certificate.dns_alt_names;
            let extensions: Vec<&str> =
                settings.certificate.extensions.iter().map(|one| one.oid.as_str()).collect();
            format!(
                "have the CA sign {master}'s request, if it is for the key on that machine, for the names {} and for the \
                 extensions [{}], and for nothing else",
                names.join(", "),
                extensions.join(", ")
            )
        }
        Step::FirstRun => format!("have Puppet run on {master} for the first time"),
        Step::Classify => match (&settings.groups, &settings.classify) {
            (Some(groups), _) => pe::words::classify(settings, groups, master),
            (None, Some(command)) => format!("run {}", command.join(" ")),
            (None, None) => "nothing: the site's code says what a node is".to_owned(),
        },
        Step::Run { host, .. } => match &settings.runs.runner {
            Runner::Observe => format!("wait for the second run of {host} from then on"),
            runner => format!("have Puppet run on {host}, {}, and wait for its report", by(runner)),
        },
        Step::Seal => match settings.master.kind {
            Kind::Open { .. } => "nothing: it is to be open".to_owned(),
            Kind::Sealed { isolation: Isolation::Firewall } => "nothing: a firewall is to seal it".to_owned(),
            Kind::Sealed { isolation: Isolation::DoorCa } => {
                format!("have Puppet run on {master} and wait until it refuses strangers")
            }
        },
        Step::Check => format!(
            "warm it at {doors}; compare its code {}; have the canary's catalog compiled and compare it with {mom}'s",
            compared(&settings.code)
        ),
        Step::Admit => format!("admit it at {doors}"),
        Step::Watch => {
            "compare its first catalogs with its peers', and drain it again where they are worse".to_owned()
        }
        Step::Drain => format!("drain it at {doors} and wait until it has nothing in hand"),
        Step::TakeOff => format!("take it off the rosters of {doors}"),
        Step::StopAgent => format!("disable the agent on {master} and wait for a run in progress"),
        Step::Unpin => match &settings.groups {
            Some(groups) => pe::words::unpin(settings, groups, master),
            None => "nothing: the site's code says what a node is".to_owned(),
        },
        Step::Deactivate => {
            "have PuppetDB count it no more, so that its exported resources are collected no more".to_owned()
        }
        Step::Revoke => format!("have the CA take its certificate back, and wait until {doors} refuse it"),
    }
}

const fn by(runner: &Runner) -> &'static str {
    match runner {
        Runner::Orchestrator { .. } => "by the orchestrator",
        Runner::Mcollective => "by MCollective",
        Runner::Ssh => "by ssh",
        Runner::Command(_) => "by a program here",
        Runner::Observe => "by nobody",
    }
}

const fn compared(code: &Compared) -> &'static str {
    match code {
        Compared::R10k => "by r10k's signatures",
        Compared::FileSync => "by file sync's commits",
        Compared::Command(_) => "by a program here",
        Compared::Classes => "by the signatures of its classes, which is weak",
    }
}
