//! `[classify]`: who says what a new master is. In Puppet Enterprise the console's groups do, and here is what they are
//! called and what they are to hold; in an open-source installation it is the site's code, or a program here.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use super::runner::command;
use super::{Deadlines, Preset, Ssh};
use crate::certname::Certname;
use crate::document::{Document, Entry, Section};

/// The most bytes of a group's name.
const LONGEST_NAME: usize = 200;
/// For `puppet infrastructure provision compiler`, which installs packages and restarts services there.
const PROVISIONED: Duration = Duration::from_secs(15 * 60);

/// The console's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The name by which agents reach masters through the doors; none where nothing of it is looked at.
    pub balancer: Option<String>,
    /// Whom the child group names.
    pub names: Override,
    /// Whether `puppet infrastructure provision compiler` does it all.
    pub delegate: bool,
    /// The group that manages masters, the Master of Masters among them.
    pub master: String,
    /// Its child group, whose nodes' install scripts name the Master of Masters.
    pub overriding: String,
    /// The group of every agent.
    pub agent: String,
    /// The group of agents that ask the Master of Masters, wherever others are sent.
    pub infrastructure_agent: String,
    /// The group that compile masters come into by what their certificates say.
    pub compiler: String,
}

/// Whom the child group of the masters' group names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Override {
    /// Each new master.
    Masters,
    /// The Master of Masters, as the vendor's later text has it.
    Ca,
    /// There is none.
    None,
}

impl Override {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Masters, Self::Ca, Self::None];

    /// The word for it in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Masters => "masters",
            Self::Ca => "ca",
            Self::None => "none",
        }
    }

    /// As the documented procedure has it.
    const fn usual(preset: Preset) -> Self {
        match preset {
            Preset::Pe3 | Preset::Pe2015 => Self::Masters,
            Preset::Pe2019 | Preset::OpenSource => Self::None,
        }
    }
}

/// `[classify]`: a program here, or the console's groups.
pub(super) fn classify(
    root: &mut Section<'_>,
    preset: Option<Preset>,
    doc: &mut Document<'_>,
) -> (Option<Vec<String>>, Option<Groups>) {
    let mut section = root.table("classify", doc);
    let written = section.take("command", doc).and_then(|entry| command(&entry, doc));
    let groups = groups(&mut section, preset, doc);
    section.finish(doc);
    if written.is_some() && preset.is_some_and(Preset::has_console) {
        doc.contradiction(
            &["classify.command"],
            "nothing: this key belongs to open-source installations; with a console its classifier is asked",
        );
    }
    (written, groups)
}

/// What would keep `puppet infrastructure provision compiler` from being run to its end.
pub(super) fn delegated(
    groups: Option<&Groups>,
    ssh: Option<&Ssh>,
    deadlines: &Deadlines,
    doc: &mut Document<'_>,
) {
    if !groups.is_some_and(|groups| groups.delegate) {
        return;
    }
    if ssh.is_none() && !doc.was_taken("ssh") {
        let expected =
            "[ssh] with `known_hosts`: `puppet infrastructure` is run on the Master of Masters by it";
        doc.contradiction(&["classify.delegate"], expected);
    }
    if deadlines.classify < PROVISIONED {
        let expected = format!(
            "at least \"{}m\" with delegate = true: `puppet infrastructure provision compiler` installs packages",
            PROVISIONED.as_secs() / 60
        );
        doc.contradiction(&["deadlines.classify", "classify.delegate"], expected);
    }
}

/// Every key is read, so that one which does not go with the kind of installation is told as such.
fn groups(section: &mut Section<'_>, preset: Option<Preset>, doc: &mut Document<'_>) -> Option<Groups> {
    let balancer = section.take("balancer", doc);
    let names = section.take("override", doc);
    let [master, overriding] = ["master_group", "override_group"].map(|key| section.take(key, doc));
    let [agent, infrastructure_agent, compiler] =
        ["agent_group", "infrastructure_agent_group", "compiler_group"].map(|key| section.take(key, doc));
    let delegate = section.take("delegate", doc);
    let of_pe = [&balancer, &names, &master, &overriding];
    let of_2019 = [&agent, &infrastructure_agent, &compiler, &delegate];
    let preset = preset?;
    if !preset.has_console() {
        for entry in of_pe.into_iter().chain(of_2019).flatten() {
            entry.wrong(doc, "nothing: this key belongs to Puppet Enterprise, whose console has groups");
        }
        return None;
    }
    if preset != Preset::Pe2019 {
        for entry in of_2019.into_iter().flatten() {
            entry.wrong(doc, "nothing: this key belongs to preset = \"pe-2019\"");
        }
    }
    if balancer.is_none()
        && let Some(entry) = &names
    {
        entry.wrong(doc, "`balancer` beside it: without a balancer no install script needs another name");
    }
    let host = |entry: Entry<'_>, doc: &mut Document<'_>| {
        let expected = "the name by which agents reach masters, such as \"puppet.example.com\"";
        entry.text(doc, expected, |text| Certname::parse_host(text).ok().map(|name| name.to_string()))
    };
    let whom = |entry: Entry<'_>, doc: &mut Document<'_>| {
        let read = |text: &str| Override::ALL.into_iter().find(|whom| whom.name() == text);
        entry.text(doc, "\"masters\", \"ca\" or \"none\"", read)
    };
    let yes = |entry: Entry<'_>, doc: &mut Document<'_>| {
        let yes = entry.as_bool();
        if yes.is_none() {
            entry.wrong(doc, "true or false");
        }
        yes
    };
    Some(Groups {
        balancer: balancer.and_then(|entry| host(entry, doc)),
        names: names.and_then(|entry| whom(entry, doc)).unwrap_or_else(|| Override::usual(preset)),
        delegate: delegate
            .and_then(|entry| yes(entry, doc))
            .is_some_and(|yes| yes && preset == Preset::Pe2019),
        master: name(master, "PE Master", doc),
        overriding: name(overriding, "PE CA pe_repo override", doc),
        agent: name(agent, "PE Agent", doc),
        infrastructure_agent: name(infrastructure_agent, "PE Infrastructure Agent", doc),
        compiler: name(compiler, "PE Compiler", doc),
    })
}

fn name(entry: Option<Entry<'_>>, usual: &str, doc: &mut Document<'_>) -> String {
    let read = |text: &str| {
        let good = (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
        good.then(|| text.to_owned())
    };
    let written = entry.and_then(|entry| entry.text(doc, "the name of a group in the console", read));
    written.unwrap_or_else(|| usual.to_owned())
}
