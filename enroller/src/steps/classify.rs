//! Groups and classes of a new master, and out of them again.
//!
//! In an open-source installation the site's code says what a node is; where that needs a word from outside, a program
//! here is run. In Puppet Enterprise the console's groups say it ([`crate::pe::groups`]).

use stagedoor_config::enroller::Groups;

use super::{Act, Enrolling, Look};
use crate::pe::classifier::Classifier;
use crate::pe::groups::{Compared, Must, compare, leaving, wanted};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use crate::runs::{first, program};
use crate::shell::CommandLine;

pub(super) async fn look(at: &Enrolling<'_>, task: &ToLook) -> Look {
    let acted = task.known().acted.as_ref();
    if let Some((classifier, groups)) = console(at) {
        let compared = compare(&classifier.groups().await?, &musts(at, groups), at.permits.overwrite)?;
        return Ok(match (groups.delegate, acted) {
            // What the vendor's command makes of the groups is its own, and nobody but itself can tell.
            (true, Some(acted)) => Looked::There(acted.clone()),
            (true, None) => Looked::Missing(Facts::none()),
            (false, _) => looked(groups, &compared),
        });
    }
    let by_command = at.site.settings.classify.is_some();
    Ok(match acted {
        // Nobody but the program itself can tell; it may be run twice.
        Some(acted) => Looked::There(acted.clone()),
        None if by_command => Looked::Missing(Facts::none()),
        None => Looked::There(Facts::none().and("by", "site code")),
    })
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    if let Some((classifier, groups)) = console(at) {
        let (musts, overwrites) = (musts(at, groups), at.permits.overwrite);
        let done = classifier.settle(|groups| compare(groups, &musts, overwrites)).await?;
        let facts = Facts::none().and("by", "classifier").and("changed", done.join("; "));
        return if groups.delegate { delegated(at, facts).await } else { Ok(facts) };
    }
    if let Some(command) = &at.site.settings.classify {
        program(command, at.master()).await?;
    }
    Ok(Facts::none().and("by", "command"))
}

pub(super) async fn unpinned(at: &Enrolling<'_>) -> Look {
    let Some((classifier, groups)) = console(at) else {
        return Ok(Looked::There(Facts::none().and("by", "site code")));
    };
    let changes = leaving(&classifier.groups().await?, &musts(at, groups), at.master().as_str());
    Ok(looked(groups, &Compared { changes, warnings: Vec::new() }))
}

pub(super) async fn unpin(at: &Enrolling<'_>) -> Act {
    let Some((classifier, groups)) = console(at) else { return Ok(Facts::none()) };
    let musts = musts(at, groups);
    let leave = |groups: &[_]| {
        let changes = leaving(groups, &musts, at.master().as_str());
        Ok(Compared { changes, warnings: Vec::new() })
    };
    let done = classifier.settle(leave).await?;
    Ok(Facts::none().and("by", "classifier").and("changed", done.join("; ")))
}

/// The console's classifier, and what the settings say of its groups.
fn console<'s>(at: &Enrolling<'s>) -> Option<(Classifier<'s>, &'s Groups)> {
    Classifier::of(at.site).zip(at.site.settings.groups.as_ref())
}

fn musts(at: &Enrolling<'_>, groups: &Groups) -> Vec<Must> {
    let settings = &at.site.settings;
    wanted(settings.preset, groups, &settings.mom.certname, at.master())
}

fn looked(groups: &Groups, compared: &Compared) -> Looked {
    let words: Vec<String> = compared.changes.iter().map(|change| change.words()).collect();
    let mut facts = Facts::none().and("by", "classifier");
    if !compared.warnings.is_empty() {
        facts = facts.and("warning_groups", compared.warnings.join("; "));
    }
    if let Some(balancer) = &groups.balancer {
        facts = facts.and("balancer", balancer);
    }
    if words.is_empty() {
        Looked::There(facts)
    } else {
        Looked::Missing(facts.and("to_do", words.join("; ")))
    }
}

/// Has the vendor's own command make a compile master of it, after a run that has told it where its broker is.
async fn delegated(at: &Enrolling<'_>, facts: Facts) -> Act {
    let (mom, master) = (&at.site.settings.mom.certname, at.master());
    first(at.site, master).await?;
    let names = &at.site.settings.certificate.dns_alt_names;
    let names = match names.as_slice() {
        [] => vec!["--no-dns-alt-names".to_owned()],
        names => vec!["--dns-alt-names".to_owned(), names.join(",")],
    };
    let puppet = at.site.puppet_program();
    let words = [puppet.as_str(), "infrastructure", "provision", "compiler", master.as_str()];
    let line = CommandLine::of(words.into_iter().chain(names.iter().map(String::as_str)));
    let line = line.map_err(|error| crate::site::not_run(&error.into()))?;
    let ended = at.site.shell.run(mom, &line, &[]).await?;
    if ended.code == 0 {
        return Ok(facts.and("by", "puppet infrastructure"));
    }
    let said = ended.last_words();
    let reason = format!("{mom}: `{}` ended with {}: {said}", line.as_str(), ended.code);
    Err(if said.to_ascii_lowercase().contains("token") {
        let way_out = format!("as root on {mom}, `puppet access login --lifetime 1d`, then resume");
        Stop::new(StopKind::Paused, reason, way_out)
    } else {
        Stop::new(StopKind::Failed, reason, "put right what it says there, then resume")
    })
}
