# @summary Certificates as PEM and nothing else: a private key in there does not match.
type Stagedoor::Certificates = Pattern[/\A([^-]*-----BEGIN CERTIFICATE-----[A-Za-z0-9+\/=\s]+-----END CERTIFICATE-----)+[^-]*\z/]
