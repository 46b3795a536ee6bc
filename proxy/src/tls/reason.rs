//! Why a handshake failed: one word of a bounded set to count by, and words for the log.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use stagedoor_config::trust::Refused;

/// Every word [`reason`] answers beside [`Refused::LABELS`].
pub const REASONS: [&str; 15] = [
    "certificate",
    "alert_unknown_ca",
    "alert_certificate_expired",
    "alert_certificate_revoked",
    "alert_bad_certificate",
    "alert_protocol_version",
    "alert_other",
    "protocol_version",
    "no_common_cipher",
    "no_application_protocol",
    "bad_handshake",
    "client_gone",
    "timeout",
    "tls",
    "io",
];

/// Why a handshake failed, as a label. `alert_…` is what the other side said of us: an agent that does not believe the
/// door's certificate says so by an alert.
#[must_use]
pub fn reason(error: &io::Error) -> &'static str {
    match tls(error) {
        Some(error) => of_tls(error),
        None => match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => "client_gone",
            ErrorKind::TimedOut => "timeout",
            _ => "io",
        },
    }
}

/// Why a handshake failed, in words for the log.
#[must_use]
pub fn words(error: &io::Error) -> String {
    let Some(Error::InvalidCertificate(CertificateError::Other(other))) = tls(error) else {
        return error.to_string();
    };
    match other.0.downcast_ref::<Refused>() {
        Some(refused) => match refused.source() {
            Some(source) => format!("{refused}: {source}"),
            None => refused.to_string(),
        },
        None => error.to_string(),
    }
}

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_tls(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => Refused::label_in_tls(error).unwrap_or("certificate"),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "alert_unknown_ca",
            AlertDescription::CertificateExpired => "alert_certificate_expired",
            AlertDescription::CertificateRevoked => "alert_certificate_revoked",
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                "alert_bad_certificate"
            }
            AlertDescription::ProtocolVersion => "alert_protocol_version",
            _ => "alert_other",
        },
        Error::PeerIncompatible(why) => match why {
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13 => "protocol_version",
            _ => "no_common_cipher",
        },
        Error::NoApplicationProtocol => "no_application_protocol",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => "bad_handshake",
        _ => "tls",
    }
}
