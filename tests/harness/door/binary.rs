//! The program under test, built once for a run of tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the `stagedoor` program is: `STAGEDOOR_BIN`, or built with the profile of whoever asks.
///
/// `cargo test -p acceptance` does not build another member's programs, so cargo is asked here; both packages are
/// named so that features, and with them everything that is built already, stay the same.
///
/// # Panics
/// When it does not build.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("STAGEDOOR_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let mut folder = own.parent().expect("it lies in a folder").to_owned();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "acceptance", "-p", "stagedoor", "--bin", "stagedoor"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let done = cargo.status().expect("cargo runs");
    assert!(done.success(), "the door does not build");
    folder.join("stagedoor")
}
