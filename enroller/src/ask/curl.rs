//! A question by `curl` on the server's own machine, with that machine's own certificate.
//!
//! Servers on Java 7 have no cipher suite that this program has. The machine they run on has a `curl` that speaks to
//! them, and an agent whose certificate they know. Another certificate may be handed over for one question, with its key:
//! both are there in a folder of their own for as long as `curl` takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stagedoor_config::certname::Certname;

use super::{Answer, NoAnswer, Question, head};
use crate::shell::{CommandLine, Shell};

/// The machine's own settings for `curl` are passed over: one may believe anybody, or ask another in between.
///
/// `$1` is the puppet program, `$2` which certificate is shown (`none`, the machine's `own`, the one that is `given`),
/// `$3` whether there is a body; the rest is `curl`'s. The headers, of which one may be a token, come on the standard
/// input, as lines of settings for `curl`; after them, where it is given, the certificate with its key; then the body.
/// None of these stands on a command line.
const SCRIPT: &str = r#"
set -eu
puppet=$1; shows=$2; body=$3; shift 3
umask 077
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
keep() {
  : >"$1"
  IFS= read -r lines
  while [ "$lines" -gt 0 ]; do IFS= read -r line; printf '%s\n' "$line" >>"$1"; lines=$((lines - 1)); done
}
keep "$kept/settings"
if [ "$shows" = given ]; then keep "$kept/given"; fi
cat >"$kept/body"
if [ "$body" = yes ]; then set -- --data-binary @"$kept/body" "$@"; fi
case $shows in
own) set -- --cert "$("$puppet" config print hostcert)" --key "$("$puppet" config print hostprivkey)" "$@" ;;
given) set -- --cert "$kept/given" --key "$kept/given" "$@" ;;
esac
curl --disable --config "$kept/settings" --silent --show-error --include --globoff --noproxy '*' \
  --cacert "$("$puppet" config print localcacert)" "$@"
"#;

/// A certificate and its key in PEM form, handed over for one question.
#[derive(Clone)]
pub struct Given(Arc<str>);

/// Over and above the time that `curl` itself is given.
const FOR_SSH: Duration = Duration::from_secs(30);

impl Given {
    /// The certificate, with those above it, and the key.
    #[must_use]
    pub fn new(certificate: &str, key: &str) -> Self {
        Self(format!("{}\n{}\n", certificate.trim(), key.trim()).into())
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(secret)")
    }
}

/// Asks the server `name` at `address`, on the machine of that name; a question that shows a certificate shows the one
/// that is given, else that machine's own.
///
/// # Errors
/// Says why there is no answer; whatever the server answers is one.
pub async fn by_curl(
    shell: &Shell,
    puppet: &str,
    (name, address): (&Certname, &str),
    question: &Question,
    given: Option<&Given>,
) -> Result<Answer, NoAnswer> {
    let not_run = |source| NoAnswer::NotRun { address: address.to_owned(), source };
    let url = match address.rsplit_once(':') {
        Some((_, port)) => format!("https://{name}:{port}{}", question.path),
        None => format!("https://{name}{}", question.path),
    };
    let seconds = question.patience.as_secs().max(1).to_string();
    let given = given.filter(|_| question.shows_identity);
    let shows = match (question.shows_identity, given) {
        (false, _) => "none",
        (true, None) => "own",
        (true, Some(_)) => "given",
    };
    let method = question.method.as_str();
    let body = if question.body.is_empty() { "no" } else { "yes" };
    let words = [puppet, shows, body, "--max-time", &seconds, "--request", method, &url];
    let line = CommandLine::script(SCRIPT, words).map_err(|error| not_run(error.into()))?;
    let mut input = settings(question).into_bytes();
    if let Some(Given(pem)) = given {
        input.extend(format!("{}\n{pem}", pem.lines().count()).into_bytes());
    }
    input.extend(&question.body);
    let patience = question.patience.saturating_add(FOR_SSH);
    let ended = tokio::time::timeout(patience, shell.run(name, &line, &input)).await;
    let ended = match ended {
        Ok(ended) => ended.map_err(not_run)?,
        Err(_) => return Err(NoAnswer::Late { address: address.to_owned(), patience }),
    };
    if ended.code != 0 {
        return Err(NoAnswer::Curl { address: address.to_owned(), words: ended.last_words() });
    }
    head::read(ended.out.as_bytes())
        .ok_or_else(|| NoAnswer::Strange { address: address.to_owned(), found: ended.last_words() })
}

/// The headers as lines of settings for `curl`, their number before them.
fn settings(question: &Question) -> String {
    // Without the first, curl waits for a 100 before it sends a body.
    let mut lines = vec!["header = \"Expect:\"".to_owned()];
    for (name, value) in &question.headers {
        let value = value.to_str().unwrap_or_default().replace('\\', r"\\").replace('"', "\\\"");
        lines.push(format!("header = \"{name}: {value}\""));
    }
    format!("{}\n{}\n", lines.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_key_that_is_handed_over_is_shown_nowhere() {
        let given = Given::new("-----BEGIN CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n");
        assert_eq!((format!("{given:?}").as_str(), given.0.lines().count()), ("Given(secret)", 2));
    }

    #[test]
    fn a_header_is_a_line_of_curls_settings_that_nothing_in_it_ends() {
        let asked = Question::get("/x").header(HeaderName::from_static("if-match"), "a\"b\\c");
        assert_eq!(settings(&asked), "2\nheader = \"Expect:\"\nheader = \"if-match: a\\\"b\\\\c\"\n");
    }
}
