//! A question by `curl` on the server's own machine, with that machine's own certificate.
//!
//! Servers on Java 7 have no cipher suite that this program has. The machine they run on has a `curl` that speaks to
//! them, and an agent whose certificate they know.

use std::time::Duration;

use stagedoor_config::certname::Certname;

use super::{Answer, NoAnswer, Question, head};
use crate::shell::{CommandLine, Shell};

/// `$1` is the puppet program, `$2` whether its certificate is shown, `$3` whether there is a body; the rest is `curl`'s.
/// The headers, of which one may be a token, come on the standard input, as lines of settings for `curl`, before the
/// body: they stand on no command line.
const SCRIPT: &str = r#"
set -eu
puppet=$1; shows=$2; body=$3; shift 3
umask 077
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
: >"$kept/settings"
IFS= read -r lines
while [ "$lines" -gt 0 ]; do IFS= read -r line; printf '%s\n' "$line" >>"$kept/settings"; lines=$((lines - 1)); done
cat >"$kept/body"
if [ "$body" = yes ]; then set -- --data-binary @"$kept/body" "$@"; fi
if [ "$shows" = yes ]; then
  set -- --cert "$("$puppet" config print hostcert)" --key "$("$puppet" config print hostprivkey)" "$@"
fi
curl --config "$kept/settings" --silent --show-error --include \
  --cacert "$("$puppet" config print localcacert)" "$@"
"#;

/// Over and above the time that `curl` itself is given.
const FOR_SSH: Duration = Duration::from_secs(30);

/// Asks the server `name` at `address`, on the machine of that name.
///
/// # Errors
/// Says why there is no answer; whatever the server answers is one.
pub async fn by_curl(
    shell: &Shell,
    puppet: &str,
    name: &Certname,
    address: &str,
    question: &Question,
) -> Result<Answer, NoAnswer> {
    let not_run = |source| NoAnswer::NotRun { address: address.to_owned(), source };
    let url = match address.rsplit_once(':') {
        Some((_, port)) => format!("https://{name}:{port}{}", question.path),
        None => format!("https://{name}{}", question.path),
    };
    let seconds = question.patience.as_secs().max(1).to_string();
    let shows = if question.shows_identity { "yes" } else { "no" };
    let method = question.method.as_str();
    let body = if question.body.is_empty() { "no" } else { "yes" };
    let words = [puppet, shows, body, "--max-time", &seconds, "--request", method, &url];
    let line = CommandLine::script(SCRIPT, words).map_err(|error| not_run(error.into()))?;
    let mut input = settings(question).into_bytes();
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
    fn a_header_is_a_line_of_curls_settings_that_nothing_in_it_ends() {
        let asked = Question::get("/x").header(HeaderName::from_static("if-match"), "a\"b\\c");
        assert_eq!(settings(&asked), "2\nheader = \"Expect:\"\nheader = \"if-match: a\\\"b\\\\c\"\n");
    }
}
