//! What may stand in a new master's certificate beside its names.
//!
//! Puppet's own extensions decide who may do what: a certificate with `pp_cli_auth` is an administrator of the CA. So
//! the settings name each with its value, and the enroller signs nothing that has another.
#![deny(clippy::disallowed_methods)]

/// Everything of Puppet's own stands below this.
const PUPPET: &str = "1.3.6.1.4.1.34380.1.";
/// The most bytes of a value: Puppet's own are words, and the line in a journal that shows one has an end.
const LONGEST_VALUE: usize = 255;
/// Rights at the CA.
const CLI_AUTH: &str = "3.39";
/// A secret.
const PRESHARED_KEY: &str = "1.4";

/// Puppet's short names.
const NAMES: [(&str, &str); 29] = [
    ("pp_uuid", "1.1"),
    ("pp_instance_id", "1.2"),
    ("pp_image_name", "1.3"),
    ("pp_preshared_key", PRESHARED_KEY),
    ("pp_cost_center", "1.5"),
    ("pp_product", "1.6"),
    ("pp_project", "1.7"),
    ("pp_application", "1.8"),
    ("pp_service", "1.9"),
    ("pp_employee", "1.10"),
    ("pp_created_by", "1.11"),
    ("pp_environment", "1.12"),
    ("pp_role", "1.13"),
    ("pp_software_version", "1.14"),
    ("pp_department", "1.15"),
    ("pp_cluster", "1.16"),
    ("pp_provisioner", "1.17"),
    ("pp_region", "1.18"),
    ("pp_datacenter", "1.19"),
    ("pp_zone", "1.20"),
    ("pp_network", "1.21"),
    ("pp_securitypolicy", "1.22"),
    ("pp_cloudplatform", "1.23"),
    ("pp_apptier", "1.24"),
    ("pp_hostname", "1.25"),
    ("pp_owner", "1.26"),
    ("pp_authorization", "3.1"),
    ("pp_auth_role", "3.13"),
    ("pp_cli_auth", CLI_AUTH),
];

/// One extension with its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extension {
    /// Its object identifier in full, in dotted form.
    pub oid: String,
    /// What it says.
    pub value: String,
}

impl Extension {
    pub(super) const EXPECTED: &'static str = "NAME=VALUE, NAME being one of Puppet's (pp_role, pp_auth_role …) or an OID below 1.3.6.1.4.1.34380.1";

    /// Reads `NAME=VALUE`.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, value) = text.split_once('=').ok_or(Self::EXPECTED)?;
        let below = match NAMES.iter().find(|(short, _)| *short == name) {
            Some((_, below)) => *below,
            None => name.strip_prefix(PUPPET).filter(|below| is_below(below)).ok_or(Self::EXPECTED)?,
        };
        if below == CLI_AUTH {
            return Err("no pp_cli_auth: whoever has that certificate is an administrator of the CA");
        }
        if below == PRESHARED_KEY {
            return Err(
                "no pp_preshared_key: it is a secret, and nobody needs it who signs by the public key",
            );
        }
        let printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if value.is_empty() || value.len() > LONGEST_VALUE || !value.bytes().all(printable) {
            return Err("a value of 1 to 255 printable ASCII characters after the `=`");
        }
        Ok(Self { oid: format!("{PUPPET}{below}"), value: value.to_owned() })
    }
}

/// `1.13`: numbers in their one spelling, at most as many as a reader can tell apart.
fn is_below(text: &str) -> bool {
    let number = |part: &str| {
        part.len() <= 9
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.is_empty() && !part.starts_with('0'))
    };
    text.len() <= 64 && text.split('.').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_named_by_a_short_name_or_by_its_oid() {
        let role = Extension::parse("pp_auth_role=pe_compiler").unwrap();
        assert_eq!(role.oid, "1.3.6.1.4.1.34380.1.3.13");
        assert_eq!(Extension::parse("1.3.6.1.4.1.34380.1.3.13=pe_compiler"), Ok(role));
        let group = Extension::parse("1.3.6.1.4.1.34380.1.1.9813=A = B").unwrap();
        assert_eq!(group.value, "A = B");
        for bad in [
            "",
            "pp_role",
            "pp_rol=x",
            "pp_role=",
            "pp_role=\n",
            "2.5.29.17=x",
            "1.3.6.1.4.1.34380.1.=x",
            "1.3.6.1.4.1.34380.1.01=x",
            "1.3.6.1.4.1.34380.1.1..2=x",
        ] {
            assert!(Extension::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rights_at_the_ca_and_secrets_are_no_extension_by_either_name() {
        for bad in ["pp_cli_auth=true", "1.3.6.1.4.1.34380.1.3.39=true"] {
            assert!(Extension::parse(bad).unwrap_err().contains("administrator"), "{bad}");
        }
        for bad in ["pp_preshared_key=x", "1.3.6.1.4.1.34380.1.1.4=x"] {
            assert!(Extension::parse(bad).unwrap_err().contains("secret"), "{bad}");
        }
    }
}
