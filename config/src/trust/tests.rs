//! A small CA made for each test, and odd certificates of an openssl CA from `tests/data/odd`.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::subject::NoCertname;

mod bundle;
mod judge;
mod odd;

/// 2027-06-01.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_811_808_000));

struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    der: CertificateDer<'static>,
}

impl Ca {
    fn root(name: &str) -> Self {
        Self::rooted(name, |_| ())
    }

    fn rooted(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().clone(), params, key }
    }

    fn below(parent: &Self, name: &str, serial: u8) -> Self {
        let params = Self::params(name, serial);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &parent.issuer()).unwrap();
        Self { pem: made.pem(), der: made.der().clone(), params, key }
    }

    fn params(name: &str, serial: u8) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn leaf(&self, certname: &str, serial: u8) -> CertificateDer<'static> {
        self.leaf_with(certname, serial, |_| ())
    }

    fn leaf_with(
        &self,
        certname: &str,
        serial: u8,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, certname);
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.not_before = date_time_ymd(2021, 1, 1);
        params.not_after = date_time_ymd(2031, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer()).unwrap().der().clone()
    }

    fn list(&self, revoked: &[u8]) -> String {
        self.list_with(1, revoked, |_| ())
    }

    fn list_with(
        &self,
        number: u8,
        revoked: &[u8],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2030, 1, 1),
            crl_number: SerialNumber::from(vec![number]),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(vec![*serial]),
                    revocation_time: date_time_ymd(2026, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}

fn trust(bundle: &str, lists: &str) -> Result<Trust, Untrusted> {
    Trust::from_pem(bundle.as_bytes(), lists.as_bytes(), NOW)
}

/// Root and intermediate, as `puppetserver ca setup` makes them, with nothing revoked.
fn pair() -> (Ca, Ca, Trust) {
    let root = Ca::root("Puppet Root CA: 1");
    let middle = Ca::below(&root, "Puppet CA: master.example.com", 2);
    let trust = trust(&(root.pem.clone() + &middle.pem), &(root.list(&[]) + &middle.list(&[]))).unwrap();
    (root, middle, trust)
}

fn agent(trust: &Trust, leaf: &CertificateDer<'_>) -> Result<Judged, Refused> {
    trust.judge(leaf, &[], NOW, Side::Agent)
}
