//! The `stagedoor-enroller` program, as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tokio::process::Child;

use super::Installation;
use crate::wait::in_time;

/// What it said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Installation {
    /// Runs it with these words and `--config`, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn enroller(&self, words: &[&str]) -> Said {
        let output =
            in_time("the enroller ends", self.start(words).wait_with_output()).await.expect("our child");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Starts it with these words and `--config`; whoever drops it kills it.
    #[must_use]
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = tokio::process::Command::new(binary());
        command.args(words).arg("--config").arg(self.paper.settle());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("the enroller starts")
    }
}

/// Where the `stagedoor-enroller` program is: `STAGEDOOR_ENROLLER_BIN`, or built with the profile of whoever asks.
///
/// # Panics
/// When it does not build.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("STAGEDOOR_ENROLLER_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let mut folder = own.parent().expect("it lies in a folder").to_owned();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "-p",
        "acceptance",
        "-p",
        "stagedoor-enroller",
        "--bin",
        "stagedoor-enroller",
    ]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the enroller does not build");
    folder.join("stagedoor-enroller")
}
