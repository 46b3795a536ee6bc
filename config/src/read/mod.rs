//! Reading and replacing files: the only place in this crate that touches a disk.
//!
//! Every error names the file and what to do. Nothing here waits for another program: a pipe or a device in place
//! of a file is refused, not read.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | a whole file, once |
//! | `replace` | a file replaced so that a crash leaves the old one or the new one |
//! | `looks` | when a file that changes is taken: two looks agree (pure) |
//! | `watch` | the looks |

mod looks;
mod replace;
mod watch;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use looks::TwoLooks;
pub use replace::{NotReplaced, replace};
use rustix::fs::OFlags;
pub use watch::{Look, Watched};

/// The most bytes of one file that are read. The CRL of 200,000 revoked certificates has 8 MB; more than this is no
/// file of ours, and reading it would only take memory.
pub const LARGEST: u64 = 64 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// There is none.
    #[error("{}: expected a file, and there is none: create it, or correct the path", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// This process's user may not.
    #[error(
        "{}: expected a file that this user (uid {uid}) may read, with every folder above it: change owner or mode",
        .path.display()
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// Who this process is.
        uid: u32,
    },
    /// A folder, a pipe, a device.
    #[error("{}: expected a file, and it is a folder, a pipe or a device: correct the path", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Above [`LARGEST`].
    #[error("{}: expected at most {LARGEST} bytes: this is no file of stagedoor's", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not UTF-8 where text is needed.
    #[error(
        "{}: expected text in UTF-8, and byte {offset} is none: save the file in that encoding",
        .path.display()
    )]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the text ends to be UTF-8, counted from 0.
        offset: usize,
    },
    /// The system says something else.
    #[error("{}: expected to read the file: see what the system says", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl NotRead {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            io::ErrorKind::PermissionDenied => {
                Self::Denied { path, uid: rustix::process::geteuid().as_raw() }
            }
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            _ => Self::Failed { path, source },
        }
    }

    /// Whether there is no such file, which for a roster means that nobody was admitted yet.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// A whole file.
///
/// # Errors
/// Says why it cannot be read.
pub fn bytes(path: &Path) -> Result<Vec<u8>, NotRead> {
    let (mut file, metadata) = open(path)?;
    bytes_of(path, &mut file, &metadata)
}

/// A whole file of text.
///
/// # Errors
/// Says why it cannot be read, or where it is no UTF-8.
pub fn text(path: &Path) -> Result<String, NotRead> {
    String::from_utf8(bytes(path)?)
        .map_err(|error| NotRead::NotText { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

/// A private key that others than its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: expected a private key that its owner alone may read, and its mode is {mode:03o} ({}): chmod 600",
    .path.display(),
    if mode & 0o004 == 0 { "its group may read it" } else { "everyone may read it" }
)]
pub struct Exposed {
    /// The key's file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// Whether a private key's file may be read by its group or by everyone. Worth a warning, not a refusal: some sites
/// share keys by group.
///
/// # Errors
/// The file cannot be looked at.
pub fn exposed(path: &Path) -> Result<Option<Exposed>, NotRead> {
    let metadata = std::fs::metadata(path).map_err(|error| NotRead::from_io(path, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    Ok((mode & 0o044 != 0).then(|| Exposed { path: path.to_owned(), mode }))
}

/// Opens without waiting: a pipe nobody writes to would otherwise hold the caller for ever.
fn open(path: &Path) -> Result<(File, Metadata), NotRead> {
    let no_waiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_waiting)
        .open(path)
        .map_err(|error| NotRead::from_io(path, error))?;
    let metadata = file.metadata().map_err(|error| NotRead::from_io(path, error))?;
    if !metadata.is_file() {
        return Err(NotRead::NotAFile { path: path.to_owned() });
    }
    Ok((file, metadata))
}

/// The bound holds for a file that grows while it is read, too.
fn bytes_of(path: &Path, file: &mut File, metadata: &Metadata) -> Result<Vec<u8>, NotRead> {
    let too_large = || NotRead::TooLarge { path: path.to_owned() };
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| NotRead::from_io(path, error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) {
        Ok(bytes)
    } else {
        Err(too_large())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_reason_why_a_file_cannot_be_read_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(matches!(bytes(&path), Err(NotRead::Missing { .. })));
        assert!(matches!(bytes(&path.join("below")), Err(NotRead::Missing { .. })));
        assert!(matches!(bytes(folder.path()), Err(NotRead::NotAFile { .. })));
        fs::write(&path, b"ab\xffc").unwrap();
        assert_eq!(bytes(&path).unwrap(), b"ab\xffc");
        assert!(matches!(text(&path), Err(NotRead::NotText { offset: 2, .. })));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert!(matches!(bytes(&path), Err(NotRead::TooLarge { .. })));
        // Root may read everything, so the kernel cannot be made to refuse in every test run.
        let denied = NotRead::from_io(&path, io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied.contains("uid") && denied.contains("file"), "{denied}");
    }

    #[test]
    fn a_pipe_is_refused_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(bytes(&path), Err(NotRead::NotAFile { .. })));
        assert!(matches!(bytes(Path::new("/dev/zero")), Err(NotRead::NotAFile { .. })));
    }

    #[test]
    fn a_private_key_that_others_may_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "key").unwrap();
        for (mode, told) in
            [(0o600, None), (0o640, Some("its group")), (0o644, Some("everyone")), (0o620, None)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = exposed(&path).unwrap().map(|exposed| exposed.to_string());
            assert_eq!(found.is_some(), told.is_some(), "{mode:o}");
            assert!(found.unwrap_or_default().contains(told.unwrap_or_default()), "{mode:o}");
        }
    }
}
