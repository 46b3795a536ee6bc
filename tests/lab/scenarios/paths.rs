//! Addresses that must not pass: those two servers could read in two ways, and those that administer the CA.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Watch, saw};
use crate::agent::new_name;
use crate::lab::Lab;
use crate::machine::{DOOR, PORT};
use crate::mom::Credentials;
use crate::program::run;

/// Puppet Server joins slashes, decodes, and cuts off what follows a semicolon before it chooses who answers.
const AMBIGUOUS: [&str; 14] = [
    "//puppet-ca/v1/certificate/ca",
    "/puppet-ca//v1/certificate/ca",
    "/%70uppet-ca/v1/certificate/ca",
    "/puppet%2dca/v1/certificate/ca",
    "/./puppet-ca/v1/certificate/ca",
    "/puppet/../puppet-ca/v1/certificate/ca",
    "/puppet/%2e%2e/puppet-ca/v1/certificate/ca",
    "/puppet/.%2E/puppet-ca/v1/certificate/ca",
    "/puppet-ca;x/v1/certificate/ca",
    "/puppet-ca/v1/certificate/ca;x",
    "/packages/../puppet-ca/v1/certificate_status/x",
    "/packages%2f..%2fpuppet-ca/v1/certificate/ca",
    "/puppet\\..\\puppet-ca/v1/certificate/ca",
    "/production/%63ertificate/ca",
];

pub(super) fn ambiguous_paths_reach_nobody(lab: &Lab) -> Result<()> {
    let [agent] = certificate(lab)?;
    let watch = Watch::begin(lab)?;
    for path in AMBIGUOUS {
        for own in [None, Some(&agent)] {
            let status = ask(lab, own, "GET", path)?;
            ensure!(status == "400", "{path} was answered {status} instead of 400");
        }
    }
    let reached = watch.end(lab)?;
    ensure!(reached.mom.is_empty(), "the MoM was reached: {:?}", reached.mom);
    ensure!(reached.at_masters().next().is_none(), "a master was reached: {:?}", reached.masters);
    saw(&format!(
        "{} paths, each with and without a certificate: 400, and in nobody's access log",
        AMBIGUOUS.len()
    ));
    Ok(())
}

const ADMINISTRATION: [(&str, &str); 8] = [
    ("PUT", "/puppet-ca/v1/certificate_status/agent0001.example.com"),
    ("DELETE", "/puppet-ca/v1/certificate_status/agent0001.example.com"),
    ("GET", "/puppet-ca/v1/certificate_statuses/any"),
    ("PUT", "/puppet-ca/v1/clean"),
    ("PUT", "/puppet-ca/v1/certificate_revocation_list"),
    ("GET", "/puppet-ca/v1/expirations"),
    ("GET", "/production/certificate_statuses/any"),
    ("DELETE", "/puppet-admin-api/v1/environment-cache"),
];

pub(super) fn ca_administration_is_not_reached_through_the_door(lab: &Lab) -> Result<()> {
    let [agent] = certificate(lab)?;
    // The MoM's own certificate may administer the CA. Through the door it may not.
    let mom = lab.mom().own_certificate();
    let watch = Watch::begin(lab)?;
    for (method, path) in ADMINISTRATION {
        for own in [None, Some(&agent), Some(&mom)] {
            let status = ask(lab, own, method, path)?;
            ensure!(status == "403", "{method} {path} was answered {status} instead of 403");
        }
    }
    let reached = watch.end(lab)?;
    ensure!(reached.mom.is_empty(), "the MoM was reached: {:?}", reached.mom);
    ensure!(reached.at_masters().next().is_none(), "a master was reached: {:?}", reached.masters);
    saw(&format!(
        "{} requests as nobody, as an agent and as the MoM itself: 403, and in nobody's access log",
        ADMINISTRATION.len()
    ));
    Ok(())
}

fn certificate(lab: &Lab) -> Result<[Credentials; 1]> {
    let issued = lab.mom().issue_for_agents(&[new_name(&lab.root)?])?;
    issued.try_into().map_err(|_| anyhow::anyhow!("one certificate was asked for"))
}

/// The status of one request by curl, its path sent as it is written.
fn ask(lab: &Lab, own: Option<&Credentials>, method: &str, path: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--path-as-is",
        "--max-time",
        "60",
        "--request",
        method,
        "--cacert",
    ]);
    curl.arg(lab.mom().ca_file()).args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
    if let Some(own) = own {
        curl.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key);
    }
    let ended = run(curl.arg(format!("https://{}:{PORT}{path}", DOOR.name)))?;
    ensure!(ended.code == 0, "{method} {path}: curl ended with {}: {}", ended.code, ended.said());
    Ok(ended.output)
}
