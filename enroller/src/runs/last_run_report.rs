//! The report that an agent keeps of its latest run, as far as it says how that ended.
//!
//! It is YAML of Puppet's own kind and may have megabytes. What is wanted stands on lines of their own at its top level,
//! and only those are read.
#![deny(clippy::disallowed_methods)]

use crate::pipeline::report::{Catalog, Report, Status};

/// For `grep -E`: the lines that are wanted. Puppet 3 on old Ruby indents them by two.
pub const LINES: &str =
    "^ {0,2}(status|transaction_uuid|noop|cached_catalog_status|job_id|configuration_version):";

/// Reads those lines; none where they say too little.
#[must_use]
pub fn read(lines: &str) -> Option<Report> {
    let value = |name: &str| {
        let of = |line: &str| {
            let (key, value) = line.split_once(':')?;
            let indent = key.len() - key.trim_start().len();
            (indent <= 2 && key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        lines.lines().find_map(of).filter(|value| !value.is_empty() && value != "null" && value != "~")
    };
    let status = match value("status")?.as_str() {
        "changed" => Status::Changed,
        "unchanged" => Status::Unchanged,
        _ => Status::Failed,
    };
    let catalog = match value("cached_catalog_status").as_deref() {
        Some("explicitly_requested") => Catalog::Cached,
        Some("on_failure") => Catalog::CachedOnFailure,
        _ => Catalog::Fresh,
    };
    let transaction = value("transaction_uuid")?;
    Some(Report {
        hash: transaction.clone(),
        status,
        noop: value("noop").as_deref() == Some("true"),
        catalog,
        job: value("job_id"),
        transaction: Some(transaction),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_of_puppet_7_and_one_of_puppet_3_are_read() {
        let new = "status: unchanged\ntransaction_uuid: 4c52\nnoop: false\ncached_catalog_status: not_used\njob_id:\n";
        let report = read(new).unwrap();
        assert_eq!((report.status, report.noop, report.job), (Status::Unchanged, false, None));
        assert_eq!(report.transaction.as_deref(), Some("4c52"));
        let old = "  status: changed\n  transaction_uuid: \"4c53\"\n";
        assert_eq!(read(old).unwrap().status, Status::Changed);
        let noop = "status: unchanged\ntransaction_uuid: a\nnoop: true\ncached_catalog_status: on_failure\n";
        let report = read(noop).unwrap();
        assert!(report.noop && report.catalog == Catalog::CachedOnFailure);
    }

    #[test]
    fn what_says_too_little_is_no_report() {
        for bad in [
            "",
            "status: changed\n",
            "transaction_uuid: a\n",
            "    status: changed\n    transaction_uuid: a\n",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read("status: odd\ntransaction_uuid: a\n").unwrap().status, Status::Failed);
    }

    proptest! {
        #[test]
        fn nothing_but_a_word_for_success_is_success(status in "[a-z]{1,12}") {
            let report = read(&format!("status: {status}\ntransaction_uuid: a\n")).unwrap();
            prop_assert_eq!(report.status != Status::Failed, status == "changed" || status == "unchanged");
        }
    }
}
