//! Secrets: read from files of their own where they are used, and shown nowhere.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use stagedoor_config::read::{self, NotRead};

/// The most bytes of a token; RBAC's have some dozens, and those of other issuers a few thousand.
const LONGEST: usize = 16 << 10;

/// An RBAC token. Its text is for the header that carries it, and for [`crate::journal::Journal::keep_out`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a file holds no token. Nothing here repeats what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum NotAToken {
    /// It cannot be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// Everyone may read it.
    #[error("{}: expected a token that not everyone may read, and its mode is {mode:03o}: chmod 600, and have the token revoked", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something else stands in it.
    #[error("{}: expected one token on one line, as `puppet access login --print` prints it", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Reads a token; spaces and line ends around it do not count.
    ///
    /// # Errors
    /// Says why the file holds none.
    pub fn read(path: &Path) -> Result<Self, NotAToken> {
        let text = read::text(path)?;
        // Looked at after it was read: a file that is exposed meanwhile is told as well.
        if let Some(exposed) = read::exposed(path)?.filter(|exposed| exposed.mode & 0o004 != 0) {
            return Err(NotAToken::Exposed { path: exposed.path, mode: exposed.mode });
        }
        let token = text.trim();
        let good = (1..=LONGEST).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self(token.to_owned())) } else { Err(NotAToken::Text { path: path.to_owned() }) }
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// Whether the group of a file may read it, which for a secret is worth a word.
pub(crate) fn is_shared(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| there.permissions().mode() & 0o040 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_token_is_one_word_in_a_file_that_not_everyone_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let with = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        assert_eq!(with("0bA-x_9\n", 0o600).unwrap().as_str(), "0bA-x_9");
        assert!(with("0bA-x_9\n", 0o640).is_ok() && is_shared(&path));
        let exposed = with("0bA-x_9\n", 0o604).unwrap_err();
        assert!(matches!(exposed, NotAToken::Exposed { mode: 0o604, .. }), "{exposed}");
        for bad in ["", "\n", "two words", "two\nlines", "t\u{1b}[0m"] {
            let told = with(bad, 0o600).unwrap_err();
            assert!(matches!(told, NotAToken::Text { .. }) && !told.to_string().contains("words"), "{told}");
        }
        assert!(matches!(Token::read(&folder.path().join("none")), Err(NotAToken::NotRead(_))));
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        assert_eq!(format!("{:?}", Token("0bA-x_9".into())), "Token(secret)");
    }
}
