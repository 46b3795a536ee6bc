//! A file replaced so that a crash at any moment leaves the old one or the new one, whole.
//!
//! The new text goes into a second file in the same folder and reaches the disk before it takes the old one's name;
//! then the folder reaches the disk too, or the rename itself could be lost. One writer at a time: the second file
//! has one fixed name, so that what a crash left behind is cleared by the next replacement and never piles up.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a file could not be replaced.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: expected to {step}: see that the folder exists, belongs to this user and is not full",
    .path.display()
)]
pub struct NotReplaced {
    /// The file that was to be replaced, or what stands beside it.
    pub path: PathBuf,
    /// What failed.
    pub step: &'static str,
    /// Whether the new file is in place all the same, and only a power failure could still take it back.
    pub in_place: bool,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// Replaces a file's content, or creates the file. `mode` is its permission bits, whatever the umask.
///
/// # Errors
/// Names the step that failed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), NotReplaced> {
    let fail = |path: &Path, step| {
        let path = path.to_owned();
        move |source| NotReplaced { path, step, in_place: false, source }
    };
    let beside = beside(path)
        .ok_or_else(|| fail(path, "find a file's name in the path")(io::ErrorKind::InvalidInput.into()))?;
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(fail(&beside, "remove what an earlier write left")(error));
    }
    let written = write(&beside, bytes, mode).map_err(fail(&beside, "write a new file"));
    let renamed = written
        .and_then(|()| fs::rename(&beside, path).map_err(fail(path, "rename the new file over the old")));
    if renamed.is_err() {
        // The failure is told already; what is left over is removed by the next attempt at the latest.
        fs::remove_file(&beside).ok();
        return renamed;
    }
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(fail(folder, "bring the folder to the disk"))
        .map_err(|error| NotReplaced { in_place: true, ..error })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // `create_new` follows no link that somebody else put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// `.NAME.new` in the same folder, so that the rename stays on one file system.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(".new");
    Some(folder(path).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_created_and_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roster.toml");
        for (text, mode) in [("one", 0o640), ("another", 0o666)] {
            replace(&path, text.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(names(folder.path()), ["roster.toml"]);
        }
    }

    #[test]
    fn what_a_crash_left_is_cleared_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roster.toml");
        let other = folder.path().join("other");
        fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".roster.toml.new")).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(names(folder.path()), ["other", "roster.toml"]);
    }

    #[test]
    fn a_failure_names_its_step_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/roster.toml");
        let told = replace(&missing, b"new", 0o600).unwrap_err().to_string();
        assert!(told.contains("missing") && told.contains("write a new file"), "{told}");
        let path = folder.path().join("roster.toml");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        let told = replace(&path, b"new", 0o600).unwrap_err().to_string();
        assert!(told.contains("rename"), "{told}");
        assert_eq!(names(folder.path()), ["roster.toml"]);
        assert!(replace(Path::new("/"), b"", 0o600).is_err());
    }
}
