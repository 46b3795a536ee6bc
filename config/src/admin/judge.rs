//! Whether a door would let an agent with a certain certificate in: what is asked once a certificate was revoked, of
//! every door, until each has the new list.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

/// Judge this certificate as an agent's that comes in now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// In PEM; those of CAs that an agent would send beside it may follow.
    pub certificate: String,
}

/// The verdict of a [`Judge`], by the CA's bundle and lists in force at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Whether an agent that shows it, and has its key, comes in.
    pub believed: bool,
    /// Why not, in words; absent where it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why not, as a word for programs ([`crate::trust::Refused::LABELS`]); absent where it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_to_be_judged_and_its_verdict_look_like_this_on_the_wire() {
        let text = r#"{"certificate":"-----BEGIN CERTIFICATE-----\n"}"#;
        let judge: Judge = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&judge).unwrap(), text);
        assert!(serde_json::from_str::<Judge>(r#"{"certificate":"x","certname":"y"}"#).is_err());
        for text in [
            r#"{"believed":true}"#,
            r#"{"believed":false,"why":"the certificate is revoked; have it made anew","reason":"revoked"}"#,
        ] {
            let judged: Judged = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&judged).unwrap(), text);
        }
    }
}
