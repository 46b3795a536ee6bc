//! A run by the machine's own `puppet agent`, over ssh.

use stagedoor_config::certname::Certname;

use super::own::{self, Try, is_busy};
use crate::pipeline::{Facts, Stop, StopKind};
use crate::shell::CommandLine;
use crate::site::{Site, not_run};

/// As `puppet agent --test`, without what prints the contents of files.
const WORDS: [&str; 5] = ["agent", "--test", "--no-show_diff", "--color", "false"];
/// Runs the agent and waits for its end, and before that for the end of a run that is in progress.
pub(super) async fn run(site: &Site, host: &Certname) -> Result<Facts, Stop> {
    let line = site.puppet_line(&WORDS).map_err(|error| not_run(&error))?;
    own::run(site, host, "ssh", || once(site, host, &line)).await
}

async fn once(site: &Site, host: &Certname, line: &CommandLine) -> Result<Try, Stop> {
    let ended = site.shell.run(host, line, &[]).await.map_err(|error| not_run(&error))?;
    if is_busy(&ended) {
        return Ok(Try::Busy);
    }
    let meaning = match ended.code {
        0 | 2 => return Ok(Try::Over),
        4 | 6 => "some resources failed",
        _ => "no catalog was applied",
    };
    let reason =
        format!("{host}: `puppet agent` ended with {} ({meaning}): {}", ended.code, errors(&ended.said()));
    Err(Stop::new(StopKind::Failed, reason, "put right what failed there, then resume"))
}

/// The errors an agent printed, or the last of what it said.
fn errors(said: &str) -> String {
    let errors: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("Error:")).collect();
    let lines = if errors.is_empty() {
        said.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    } else {
        errors
    };
    let last: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(3)).copied().collect();
    if last.is_empty() { "it said nothing".to_owned() } else { last.join(" / ") }
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn of_what_an_agent_said_the_errors_are_told() {
        let said = "Info: Using environment\nError: Could not retrieve catalog\nNotice: done\n";
        assert_eq!(errors(said), "Error: Could not retrieve catalog");
        assert_eq!(errors("a\n\nb\nc\nd\n"), "b / c / d");
        assert_eq!(errors("\n"), "it said nothing");
    }
}
