//! `stagedoor-enroller`, the program.

use std::process::ExitCode;

use clap::Parser;

/// Admits a compile master after its ordered Puppet runs. No command is written yet: run the documented procedure by
/// hand, then `stagedoor roster admit CERTNAME` on the door.
#[derive(Debug, Parser)]
#[command(name = "stagedoor-enroller", version, arg_required_else_help = true)]
struct Line {}

fn main() -> ExitCode {
    match Line::try_parse() {
        Ok(Line {}) => ExitCode::FAILURE,
        Err(error) => {
            // Where even this cannot be said, the exit code still tells.
            error.print().ok();
            if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
        }
    }
}
