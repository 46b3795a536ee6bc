//! How a run is started on another machine, and what `ssh` may be told.
//!
//! The system's `ssh` is used with host keys that are known beforehand. No setting lets it accept an unknown one or
//! start another program here: options are of a list, one word each, and reach it as arguments, never through a shell.
#![deny(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use super::{Preset, Server};
use crate::document::{Document, Entry, Section};
use crate::nearest::nearest;

/// The word in a command that the host's certname stands in for.
pub const HOST: &str = "{host}";

/// The orchestrator's port.
const ORCHESTRATOR_PORT: u16 = 8143;
/// The most arguments of a command, and the most options of `ssh`.
const MOST_ARGUMENTS: usize = 32;
/// The most bytes of an option's value.
const LONGEST_VALUE: usize = 255;

/// How a run is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// By Puppet Enterprise's orchestrator at this `host:port`.
    Orchestrator {
        /// Usually the Master of Masters at port 8143.
        address: String,
    },
    /// By MCollective, from the Master of Masters.
    Mcollective,
    /// By `ssh`, as the host's own `puppet agent`.
    Ssh,
    /// By a program here, with its arguments, [`HOST`] among them; it exits as `puppet agent -t` does.
    Command(Vec<String>),
    /// By nobody: the runs that hosts do anyway are waited for.
    Observe,
}

/// How another machine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// The program.
    pub program: PathBuf,
    /// Who one is there.
    pub user: String,
    /// Whether commands there are put behind `sudo -n`.
    pub sudo: bool,
    /// The host keys that are believed; no other is.
    pub known_hosts: PathBuf,
    /// The private key; none where `ssh` finds one by itself.
    pub key: Option<PathBuf>,
    /// `Name=value` each, of [`OPTIONS`].
    pub options: Vec<String>,
}

/// What may be said to `ssh`. What is not here either starts a program, weakens what is checked of the host, or has a
/// key of its own.
const OPTIONS: &[&str] = &[
    "AddressFamily",
    "BindAddress",
    "BindInterface",
    "Ciphers",
    "Compression",
    "ConnectTimeout",
    "ConnectionAttempts",
    "GSSAPIAuthentication",
    "HostKeyAlgorithms",
    "IPQoS",
    "IdentitiesOnly",
    "KexAlgorithms",
    "LogLevel",
    "MACs",
    "Port",
    "PreferredAuthentications",
    "ProxyJump",
    "PubkeyAcceptedAlgorithms",
    "PubkeyAcceptedKeyTypes",
    "RekeyLimit",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "TCPKeepAlive",
];

/// `runner` with what goes with it.
pub(super) fn runner(
    section: &mut Section<'_>,
    preset: Option<Preset>,
    mom: Option<&Server>,
    doc: &mut Document<'_>,
) -> Option<Runner> {
    let words =
        preset.map_or(&["orchestrator", "mcollective", "ssh", "command", "observe"][..], Preset::runners);
    let expected = format!(
        "{} in this kind of installation",
        words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
    );
    let word = match section.take("runner", doc) {
        Some(entry) => entry.text(doc, &expected, |text| words.iter().copied().find(|word| *word == text)),
        None => words.first().copied(),
    };
    let (address, command) = (section.take("orchestrator", doc), section.take("command", doc));
    let beside = |entry: &Option<Entry<'_>>, whose: &str, doc: &mut Document<'_>| {
        if let Some(entry) = entry.as_ref().filter(|_| word.is_some_and(|word| word != whose)) {
            entry.wrong(doc, format!("nothing: this key belongs to runner = \"{whose}\""));
        }
    };
    beside(&address, "orchestrator", doc);
    beside(&command, "command", doc);
    match word? {
        "orchestrator" => {
            let address = match address {
                Some(entry) => entry.address(doc)?,
                None => format!("{}:{ORCHESTRATOR_PORT}", mom?.certname),
            };
            Some(Runner::Orchestrator { address })
        }
        "mcollective" => Some(Runner::Mcollective),
        "ssh" => Some(Runner::Ssh),
        "command" => {
            let Some(entry) = command else {
                section.missing("command", doc, COMMAND);
                return None;
            };
            self::command(&entry, doc).map(Runner::Command)
        }
        _ => Some(Runner::Observe),
    }
}

pub(super) const COMMAND: &str = "a program by its absolute path and its arguments, one of them \"{host}\", such as \
                       [\"/usr/local/bin/run-puppet\", \"{host}\"]";

pub(super) fn command(entry: &Entry<'_>, doc: &mut Document<'_>) -> Option<Vec<String>> {
    let read = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned());
    let command = entry.texts(doc, COMMAND, MOST_ARGUMENTS, read)?;
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let good = Path::new(program).is_absolute() && arguments.iter().any(|word| word == HOST);
    if !good {
        entry.wrong(doc, COMMAND);
    }
    good.then_some(command)
}

/// `[ssh]`, where it is written.
pub(super) fn ssh(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Ssh> {
    let mut section = root.written("ssh", doc)?;
    let program = match section.take("program", doc) {
        Some(entry) => entry.path(doc),
        None => Some("/usr/bin/ssh".into()),
    };
    let expected = "a user name: letters, digits, `-`, `_` and `.`, not beginning with `-`";
    let user = match section.take("user", doc) {
        Some(entry) => entry.text(doc, expected, |text| is_user(text).then(|| text.to_owned())),
        None => Some("root".to_owned()),
    };
    let sudo = section.flag("sudo", false, doc);
    let known_hosts = section.need_path("known_hosts", doc);
    let key = section.take("key", doc).and_then(|entry| entry.path(doc));
    let options = section.take("options", doc).map(|entry| options(&entry, doc)).unwrap_or_default();
    section.finish(doc);
    Some(Ssh { program: program?, user: user?, sudo, known_hosts: known_hosts?, key, options })
}

fn options(entry: &Entry<'_>, doc: &mut Document<'_>) -> Vec<String> {
    let expected = "an option as Name=value, such as \"ConnectTimeout=10\"";
    let mut all = Vec::new();
    for word in entry.texts(doc, expected, MOST_ARGUMENTS, |text| Some(option(text))).unwrap_or_default() {
        match word {
            Ok(option) => all.push(option),
            Err(expected) => entry.wrong(doc, expected),
        }
    }
    all
}

/// Reads `Name=value`.
fn option(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if !OPTIONS.contains(&name) {
        return Err(match nearest(name, OPTIONS.iter().copied()) {
            Some(near) => {
                format!("options that may be set, such as {near}, which is the nearest to one here")
            }
            None => format!("options that may be set: {}", OPTIONS.join(", ")),
        });
    }
    if !is_value(value) {
        return Err(format!(
            "{name}=value, the value being one plain word, without spaces, quotes, `$` and `%`"
        ));
    }
    Ok(text.to_owned())
}

/// One word that neither `ssh` nor anything it hands the value to reads as more than one: no `%` (tokens), no `$`
/// (variables), no quotes.
fn is_value(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:@/+^*[]".contains(&byte);
    (1..=LONGEST_VALUE).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}

fn is_user(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=32).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_option_is_one_word_that_no_shell_and_no_ssh_expands() {
        for good in [
            "10",
            "jump@gate.example.com:2222",
            "+ssh-ed25519",
            "[2001:db8::1]",
            "chacha20-poly1305@openssh.com",
        ] {
            assert!(is_value(good), "{good}");
        }
        for bad in ["", "-x", "a b", "%h", "$HOME", "a;b", "`id`", "a\nb", "\"a\"", "a'b", "a\\b"] {
            assert!(!is_value(bad), "{bad:?}");
        }
        assert!(is_user("svc-puppet_1") && !is_user("-oProxyCommand=x") && !is_user("a b") && !is_user(""));
        for weak in [
            "StrictHostKeyChecking",
            "ProxyCommand",
            "LocalCommand",
            "PermitLocalCommand",
            "Match",
            "UserKnownHostsFile",
            "GlobalKnownHostsFile",
            "KnownHostsCommand",
            "PKCS11Provider",
            "SecurityKeyProvider",
            "Include",
            "ForwardAgent",
            "SendEnv",
            "ControlPath",
            "XAuthLocation",
            "NoHostAuthenticationForLocalhost",
            "VerifyHostKeyDNS",
            "CheckHostIP",
            "UpdateHostKeys",
            "BatchMode",
        ] {
            assert!(!OPTIONS.contains(&weak), "{weak}");
        }
    }

    proptest! {
        #[test]
        fn a_value_holds_nothing_that_a_shell_reads(text in "\\PC{0,20}") {
            if is_value(&text) {
                let read = " \t\n\"'\\$`%;&|<>(){}!#~?";
                prop_assert!(!text.chars().any(|letter| read.contains(letter)));
            }
        }
    }
}
