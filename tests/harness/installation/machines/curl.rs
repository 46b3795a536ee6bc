//! `curl` on a machine, as far as it fetches the Master of Masters' install script.

use std::fs;

use super::{All, Said, failed, said};
use crate::mom;

impl All {
    /// Fetches a file of the Master of Masters into a file here.
    pub(super) fn curl(&self, words: &[&str]) -> Said {
        let after = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
        let (Some(file), Some(url)) = (after("--output"), words.last()) else {
            return failed(2, "curl: a shape that this stand-in does not know\n");
        };
        let believed = match (after("--cacert"), words.contains(&"--insecure")) {
            (Some(ca), _) => fs::read_to_string(ca).unwrap_or_default() == self.mom.bundle_pem(),
            (None, insecure) => insecure,
        };
        if !believed {
            return failed(60, "curl: (60) SSL certificate problem: self-signed certificate\n");
        }
        let own = format!("https://{}:", mom::NAME);
        if !url.starts_with(&own) || !url.ends_with("/packages/current/install.bash") {
            return failed(22, "curl: (22) The requested URL returned error: 404\n");
        }
        fs::write(file, INSTALL).expect("a file of the shell's");
        said(0, "")
    }
}

/// As Puppet Enterprise's own: each argument is a setting of the new machine's.
const INSTALL: &str = r#"#!/bin/bash
for argument; do
  case $argument in
  main:*) setting=${argument#main:}; puppet config set "${setting%%=*}" "${setting#*=}" --section main ;;
  extension_requests:*) setting=${argument#extension_requests:}; puppet stand-in extension "${setting%%=*}" "${setting#*=}" ;;
  *) echo "unknown argument $argument" >&2; exit 1 ;;
  esac
done
"#;
