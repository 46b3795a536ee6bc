//! Whether everything went where it should, under the name it should: asked of what the stand-ins have seen, not of
//! the door.

use harness::fleet::Site;
use harness::identity::PP_ROLE;
use harness::installation::ENROLLER;
use harness::master::{Believed, Master};

use crate::traffic::Outcome;

/// What was wrong; nothing when all was right.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Each as a sentence.
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    /// Whether all was right.
    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Looks through everything.
pub(crate) fn of(site: &Site, second: &Master, outcome: &Outcome) -> Verdict {
    let mut verdict = Verdict { wrong: outcome.strangers_served.clone() };
    let wrong = &mut verdict.wrong;
    if !outcome.failures.is_empty() {
        wrong.push(format!("{} runs failed", outcome.failures.len()));
    }
    for told in &outcome.runs {
        if told.run.certname() != told.certname {
            wrong.push(format!("{} was taken for {:?}", told.certname, told.run.certname()));
        }
        if told.run.extension(PP_ROLE) != Some(&told.role) {
            wrong.push(format!("{} lost its role: {:?}", told.certname, told.run.extension(PP_ROLE)));
        }
    }
    for master in site.masters.iter().chain([second]) {
        masters_view(master, wrong);
    }
    moms_view(site, wrong);
    if second.record().of("catalog").is_empty() {
        wrong.push(format!("{} compiled nothing although it was admitted", second.name()));
    }
    verdict
}

fn masters_view(master: &Master, wrong: &mut Vec<String>) {
    wrong.extend(master.record().offences().into_iter().map(|words| format!("{}: {words}", master.name())));
    for seen in master.record().of_agents() {
        let line = &seen.head.first;
        if seen.asked().is_ca() || seen.asked().mount == "packages" {
            wrong.push(format!("{} was asked for what the Master of Masters has: {line}", master.name()));
        }
        match Believed::of(&seen.head) {
            Ok(believed) if believed.certname().is_some() && believed.agrees() => {}
            other => wrong.push(format!("{} was told {other:?} with {line}", master.name())),
        }
    }
}

fn moms_view(site: &Site, wrong: &mut Vec<String>) {
    wrong.extend(site.mom.record().offences().into_iter().map(|words| format!("the MoM: {words}")));
    // The enroller and its canary ask the Master of Masters in their own names, and not through the door.
    let directly = |peer: &String| peer == ENROLLER || peer.starts_with("canary.");
    for seen in site.mom.record().all().iter().filter(|seen| !seen.peer.as_ref().is_some_and(directly)) {
        let line = &seen.head.first;
        if !seen.asked().is_ca() && seen.asked().mount != "packages" {
            wrong.push(format!("the MoM was asked for what compile masters do: {line}"));
        }
        if seen.peer.is_some() || seen.identity_headers().iter().any(|(_, value)| *value != "NONE") {
            wrong.push(format!("the MoM was told of an identity with {line}"));
        }
    }
}
