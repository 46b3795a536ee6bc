//! `stagedoor-enroller`, the program: a command line around the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stagedoor_enroller::command::main()
}
