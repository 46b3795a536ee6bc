# @summary Revocation lists as PEM and nothing else.
type Stagedoor::Crls = Pattern[/\A([^-]*-----BEGIN X509 CRL-----[A-Za-z0-9+\/=\s]+-----END X509 CRL-----)+[^-]*\z/]
