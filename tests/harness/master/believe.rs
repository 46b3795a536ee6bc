//! Who a compile master believes is asking: what the identity headers say, whoever wrote them.

use crate::http1::Head;
use crate::puppet::{CertificateWords, dn_common_name, percent_decode};

/// Who is asking, as trapperkeeper-authorization reads the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// Nobody that was verified.
    Nobody,
    /// A node.
    Node {
        /// The common name of `X-Client-DN`.
        certname: String,
        /// What `X-Client-Cert` says, where it came; Puppet Server never compares the two.
        certificate: Option<CertificateWords>,
    },
}

impl Believed {
    /// Reads the headers.
    ///
    /// # Errors
    /// The words of a 400, when `X-Client-Cert` does not hold exactly one percent-encoded certificate.
    pub fn of(head: &Head) -> Result<Self, String> {
        let joined = |name| head.all(name).join(",");
        if joined("x-client-verify") != "SUCCESS" {
            return Ok(Self::Nobody);
        }
        let dn = joined("x-client-dn");
        let Some(certname) = dn_common_name(&dn) else { return Ok(Self::Nobody) };
        let certificate = match head.get("x-client-cert") {
            None => None,
            Some(_) => {
                let pem =
                    percent_decode(&joined("x-client-cert")).ok_or("X-Client-Cert cannot be decoded")?;
                let words = CertificateWords::from_pem(&pem);
                Some(words.ok_or("X-Client-Cert does not hold exactly one certificate")?)
            }
        };
        Ok(Self::Node { certname: certname.to_owned(), certificate })
    }

    /// What an open master believes: whose certificate the connection shows.
    #[must_use]
    pub fn by_tls(peer: Option<&str>) -> Self {
        peer.map_or(Self::Nobody, |name| Self::Node { certname: name.to_owned(), certificate: None })
    }

    /// The certname, where somebody was verified.
    #[must_use]
    pub fn certname(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::Node { certname, .. } => Some(certname),
        }
    }

    /// A trusted extension by its dotted object identifier.
    #[must_use]
    pub fn extension(&self, oid: &str) -> Option<&str> {
        let Self::Node { certificate: Some(words), .. } = self else { return None };
        words.extensions.iter().find(|(o, _)| o == oid).map(|(_, text)| text.as_str())
    }

    /// Every trusted extension.
    #[must_use]
    pub fn extensions(&self) -> &[(String, String)] {
        match self {
            Self::Node { certificate: Some(words), .. } => &words.extensions,
            _ => &[],
        }
    }

    /// Whether name and certificate are of one node, as a door that tells the truth has them.
    #[must_use]
    pub fn agrees(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Node { certname, certificate } => certificate.as_ref().is_some_and(|c| c.name == *certname),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::PuppetCa;
    use crate::identity::{Leaf, PP_ROLE};
    use crate::puppet::percent_encode;

    fn head(headers: &[(&str, &str)]) -> Head {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Head { headers, ..Head::default() }
    }

    #[test]
    fn only_success_and_a_common_name_make_a_node() {
        let of = |headers: &[(&str, &str)]| Believed::of(&head(headers)).unwrap();
        assert_eq!(of(&[]), Believed::Nobody);
        assert_eq!(of(&[("X-Client-Verify", "NONE"), ("X-Client-DN", "CN=a")]), Believed::Nobody);
        let twice = [("X-Client-Verify", "SUCCESS"), ("x-client-verify", "SUCCESS"), ("X-Client-DN", "CN=a")];
        assert_eq!(of(&twice), Believed::Nobody);
        assert_eq!(of(&[("X-Client-Verify", "SUCCESS"), ("X-Client-DN", "CN=a")]).certname(), Some("a"));
    }

    #[test]
    fn the_certificate_brings_its_extensions_and_two_of_them_are_refused() {
        let one = PuppetCa::self_signed().issue(&Leaf::node("web01").role("web"));
        let with = |pem: &str| {
            let encoded = percent_encode(pem);
            let headers = [
                ("X-Client-Verify", "SUCCESS"),
                ("X-Client-DN", "CN=web01"),
                ("X-Client-Cert", encoded.as_str()),
            ];
            Believed::of(&head(&headers))
        };
        let believed = with(&one.certificate_pem).unwrap();
        assert_eq!(believed.extension(PP_ROLE), Some("web"));
        assert!(believed.agrees());
        assert!(with(&format!("{0}{0}", one.certificate_pem)).is_err());
        assert!(with("nothing").is_err());
    }
}
