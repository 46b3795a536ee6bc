//! The classes of requests: words shared by settings, wire and code.
//!
//! A class, never the method, says where a request goes, whether it needs an identity, and what may be done with it
//! when something fails. The names are those of Puppet's own endpoints, so that an access line, a metric and a
//! sentence in Puppet's documentation agree.
#![deny(clippy::disallowed_methods)]

use std::fmt;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `/puppet/v3/catalog`, `/puppet/v3/compile`, `/puppet/v4/catalog`: seconds to minutes of one JRuby.
    Catalog,
    /// `/puppet/v3/node`: the node object, often answered by an external node classifier.
    Node,
    /// `/puppet/v3/file_metadata`: one file's metadata.
    FileMetadata,
    /// `/puppet/v3/file_metadatas`: a tree's metadata; pluginsync begins with it.
    FileMetadatas,
    /// `/puppet/v3/file_content`: a file's bytes, up to gigabytes.
    FileContent,
    /// `/puppet/v3/static_file_content`: a file's bytes as of the catalog's code; no JRuby.
    StaticFileContent,
    /// `/puppet/v3/file_bucket_file`: backups by checksum, on one master's disk.
    FileBucket,
    /// `/puppet/v3/report`: the last request of a run.
    Report,
    /// `/puppet/v3/facts`.
    Facts,
    /// `/puppet/v3/environments`, `environment_classes`, `environment_modules`, `environment_transports`.
    Environments,
    /// `/puppet/v3/tasks`.
    Tasks,
    /// `/puppet/v3/plans`.
    Plans,
    /// Anything else under `/puppet/`, and legacy forms without a class of their own: the masters know.
    Other,
    /// CA bootstrap, reading: `certificate`, `certificate_revocation_list`, the state of a `certificate_request`.
    Ca,
    /// CA bootstrap, sending a `certificate_request`.
    Csr,
    /// `certificate_renewal`: the CA signs an agent's certificate anew.
    Renewal,
    /// `/packages/`: installers served by the Master of Masters.
    Packages,
    /// `/status/v1/simple`: answered by the door itself.
    Status,
}

/// Where a class of requests is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A compile master on the roster.
    Masters,
    /// The Master of Masters, which holds the CA and the packages.
    Mom,
    /// Its CA, asked by the door under its own name: certificate renewal and nothing else.
    Renewal,
    /// The door answers itself.
    Door,
}

/// What may be done with a request after a byte of it was written to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Asking twice changes nothing: may be asked of another master while no response has begun.
    Safe,
    /// Asking twice costs a compile, or processes a report twice: only when the master refused it before any work,
    /// which a 503 that carries `Retry-After` says.
    RefusedOnly,
    /// Never: each asking makes something.
    Never,
}

impl Class {
    /// Every class, in the order of [`Class::index`].
    pub const ALL: [Self; 18] = [
        Self::Catalog,
        Self::Node,
        Self::FileMetadata,
        Self::FileMetadatas,
        Self::FileContent,
        Self::StaticFileContent,
        Self::FileBucket,
        Self::Report,
        Self::Facts,
        Self::Environments,
        Self::Tasks,
        Self::Plans,
        Self::Other,
        Self::Ca,
        Self::Csr,
        Self::Renewal,
        Self::Packages,
        Self::Status,
    ];

    /// The place of this class in tables that hold one entry for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for this class in metrics, access lines and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Node => "node",
            Self::FileMetadata => "file_metadata",
            Self::FileMetadatas => "file_metadatas",
            Self::FileContent => "file_content",
            Self::StaticFileContent => "static_file_content",
            Self::FileBucket => "file_bucket_file",
            Self::Report => "report",
            Self::Facts => "facts",
            Self::Environments => "environments",
            Self::Tasks => "tasks",
            Self::Plans => "plans",
            Self::Other => "other",
            Self::Ca => "ca",
            Self::Csr => "csr",
            Self::Renewal => "renewal",
            Self::Packages => "packages",
            Self::Status => "status",
        }
    }

    /// Where requests of this class are answered.
    #[must_use]
    pub const fn destination(self) -> Destination {
        match self {
            Self::Ca | Self::Csr | Self::Packages => Destination::Mom,
            Self::Renewal => Destination::Renewal,
            Self::Status => Destination::Door,
            _ => Destination::Masters,
        }
    }

    /// Whether a request needs a verified certificate.
    ///
    /// A new agent has no certificate while it fetches the CA, asks for its certificate and installs packages;
    /// everything that goes to a master needs one, since a master would refuse it anyway, later and dearer. What is
    /// renewed is the certificate itself.
    #[must_use]
    pub const fn needs_identity(self) -> bool {
        matches!(self.destination(), Destination::Masters | Destination::Renewal)
    }

    /// Whether an `X-Authentication` token may stand for the certificate: masters judge it, and it passes untouched.
    #[must_use]
    pub const fn takes_token(self) -> bool {
        matches!(self.destination(), Destination::Masters)
    }

    /// Whether a request occupies a JRuby while a master answers it.
    #[must_use]
    pub const fn needs_seat(self) -> bool {
        matches!(self.destination(), Destination::Masters) && !matches!(self, Self::StaticFileContent)
    }

    /// What may be done after a byte was written.
    ///
    /// `facts` replaces what was there and `file_bucket_file` is addressed by its content, so both may be asked
    /// again although they write. A certificate request sent twice is refused by the CA the second time, each renewal
    /// makes a certificate, and unknown paths are not replayed: nobody knows what they do.
    #[must_use]
    pub const fn replay(self) -> Replay {
        match self {
            Self::Catalog | Self::Report => Replay::RefusedOnly,
            Self::Csr | Self::Renewal | Self::Other | Self::Status => Replay::Never,
            _ => Replay::Safe,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_stands_at_its_index() {
        for (i, class) in Class::ALL.iter().enumerate() {
            assert_eq!(class.index(), i, "{class}");
        }
    }

    #[test]
    fn only_bootstrap_packages_and_status_go_without_an_identity() {
        let open: Vec<&str> = Class::ALL.iter().filter(|c| !c.needs_identity()).map(|c| c.name()).collect();
        assert_eq!(open, ["ca", "csr", "packages", "status"]);
    }

    #[test]
    fn a_token_stands_for_no_certificate_that_is_to_be_renewed() {
        assert!(Class::Renewal.needs_identity() && !Class::Renewal.takes_token());
        assert!(Class::Catalog.needs_identity() && Class::Catalog.takes_token());
    }

    #[test]
    fn a_catalog_is_never_compiled_twice_after_a_byte_was_written() {
        assert_eq!(Class::Catalog.replay(), Replay::RefusedOnly);
        assert_eq!(Class::Csr.replay(), Replay::Never, "a CSR sent twice is refused by the CA");
        assert_eq!(Class::Renewal.replay(), Replay::Never, "each renewal makes a certificate");
    }
}
