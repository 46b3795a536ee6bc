//! Files that are looked at again and again: certificates, keys, CA bundles, CRLs.
//!
//! Looking, not inotify: a file on NFS, a bind mount or behind a chain of links changes without an event, and one
//! missed event would mean a revoked agent let in for ever. A look costs one stat for each file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::{NotRead, TwoLooks, bytes_of, open};

/// What one look sees of a file without reading it. The change time moves even where a tool keeps the modification
/// time of what it copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files that belong together (a certificate and its key, a bundle and its CRLs) and are taken together.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    looks: TwoLooks<Vec<Stamp>>,
    /// Of what was handed out last.
    digest: Digest,
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// What was handed out last still stands in the files, or they are just changing.
    Nothing,
    /// The files' new content, in the order of the paths.
    Taken(Vec<Vec<u8>>),
    /// A file is missing or cannot be read; what was handed out last stays in force.
    Unreadable(NotRead),
}

impl Watched {
    /// Reads files for the first time: the watch and their content, in the order of the paths.
    ///
    /// # Errors
    /// The first file that cannot be read, and why.
    pub fn open(paths: Vec<PathBuf>) -> Result<(Self, Vec<Vec<u8>>), NotRead> {
        let contents: Vec<Vec<u8>> = paths.iter().map(|path| super::bytes(path)).collect::<Result<_, _>>()?;
        let digest = digest(&contents);
        // Nothing counts as seen: a change while this was read is found by the first two looks.
        Ok((Self { paths, looks: TwoLooks::default(), digest }, contents))
    }

    /// The files.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Looks once; to be called twice a second. Reads the files only when two looks agree on a change.
    pub fn look(&mut self) -> Look {
        let stamps = match self.paths.iter().map(|path| stamp(path)).collect::<Result<Vec<_>, _>>() {
            Ok(stamps) => stamps,
            Err(error) => {
                self.looks.look(None);
                return Look::Unreadable(error);
            }
        };
        if !self.looks.look(Some(stamps.clone())) {
            return Look::Nothing;
        }
        match self.read(&stamps) {
            Ok(Some(contents)) => {
                let digest = digest(&contents);
                if digest.as_ref() == self.digest.as_ref() {
                    return Look::Nothing;
                }
                self.digest = digest;
                Look::Taken(contents)
            }
            Ok(None) => {
                self.looks.unsettle();
                Look::Nothing
            }
            Err(error) => {
                self.looks.unsettle();
                Look::Unreadable(error)
            }
        }
    }

    /// The contents, if the files are still as they were looked at before and after they are read.
    fn read(&self, stamps: &[Stamp]) -> Result<Option<Vec<Vec<u8>>>, NotRead> {
        let mut contents = Vec::with_capacity(self.paths.len());
        for (path, stamp) in self.paths.iter().zip(stamps) {
            let (mut file, before) = open(path)?;
            contents.push(bytes_of(path, &mut file, &before)?);
            let after = file.metadata().map_err(|error| NotRead::from_io(path, error))?;
            if Stamp::of(&before) != *stamp || Stamp::of(&after) != *stamp {
                return Ok(None);
            }
        }
        Ok(Some(contents))
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn stamp(path: &Path) -> Result<Stamp, NotRead> {
    std::fs::metadata(path)
        .map(|metadata| Stamp::of(&metadata))
        .map_err(|error| NotRead::from_io(path, error))
}

/// Each content's length goes before it, so that bytes that move from one file to the next are a change.
fn digest(contents: &[Vec<u8>]) -> Digest {
    let mut all = Context::new(&SHA256);
    for content in contents {
        all.update(&content.len().to_be_bytes());
        all.update(content);
    }
    all.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Pair {
        _folder: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
        watched: Watched,
    }

    fn pair() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("door.pem"), folder.path().join("door.key"));
        fs::write(&certificate, "certificate 1").unwrap();
        fs::write(&key, "key 1").unwrap();
        let (watched, contents) = Watched::open(vec![certificate.clone(), key.clone()]).unwrap();
        assert_eq!(contents, [b"certificate 1".to_vec(), b"key 1".to_vec()]);
        Pair { _folder: folder, certificate, key, watched }
    }

    fn nothing(watched: &mut Watched) {
        let look = watched.look();
        assert!(matches!(look, Look::Nothing), "{look:?}");
    }

    #[test]
    fn files_that_stay_as_they_are_are_never_handed_out_again() {
        let mut pair = pair();
        for _ in 0..4 {
            nothing(&mut pair.watched);
        }
        // Written anew with the same bytes: other stamps, same content.
        super::super::replace(&pair.key, b"key 1", 0o600).unwrap();
        for _ in 0..4 {
            nothing(&mut pair.watched);
        }
    }

    #[test]
    fn a_pair_is_taken_when_both_of_its_files_have_settled() {
        let mut pair = pair();
        super::super::replace(&pair.certificate, b"certificate 2", 0o600).unwrap();
        nothing(&mut pair.watched);
        super::super::replace(&pair.key, b"key 2", 0o600).unwrap();
        nothing(&mut pair.watched);
        let look = pair.watched.look();
        let Look::Taken(contents) = look else { panic!("{look:?}") };
        assert_eq!(contents, [b"certificate 2".to_vec(), b"key 2".to_vec()]);
        nothing(&mut pair.watched);
    }

    #[test]
    fn a_missing_file_is_told_and_what_was_taken_stays() {
        let mut pair = pair();
        fs::remove_file(&pair.key).unwrap();
        for _ in 0..3 {
            let look = pair.watched.look();
            assert!(matches!(look, Look::Unreadable(NotRead::Missing { .. })), "{look:?}");
        }
        fs::write(&pair.key, "key 1").unwrap();
        for _ in 0..3 {
            nothing(&mut pair.watched);
        }
    }

    #[test]
    fn bytes_that_move_from_one_file_to_the_next_are_a_change() {
        assert_ne!(
            digest(&[b"ab".to_vec(), b"c".to_vec()]).as_ref(),
            digest(&[b"a".to_vec(), b"bc".to_vec()]).as_ref()
        );
    }
}
