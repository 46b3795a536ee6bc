# @summary Seals a compile master (compiler) of Puppet Enterprise, and opens it again.
#
# PE's own classes write the same settings at every run. This class changes the values that they write, so that neither
# undoes the other, and looks at webserver.conf once more before header identity is switched on. Everything a master needs
# besides comes from PE's classes, which have to be in the same catalog (`puppet_enterprise::profile::master`).
#
# @example Seal
#   class { 'stagedoor::sealed::pe':
#     door_ca  => file('profile/door-ca.pem'),
#     door_crl => file('profile/door-crl.pem'),
#     doors    => ['door1.example.com', 'door2.example.com'],
#   }
#
# @param door_ca
#   Certificates of the door CA (two while it is being replaced): PEM text, or a `puppet:///` URL or absolute path to
#   copy it from. Never its key.
# @param door_crl
#   Revocation lists of the door CA, one for each certificate in `door_ca`: PEM text, URL or path.
# @param doors
#   The doors that may flush environment caches, each by the CN of its certificate of the door CA. They get a rule of their
#   own: PE's `puppet_admin_certs` would let them empty the JRuby pool as well.
# @param ensure
#   `present` seals. `absent` leaves PE's own values, and sees to it that header identity goes off first; keep it for one run
#   before the class is taken off a node.
# @param request_header_max_size
#   The longest request head in bytes. The certificate of an agent travels in a header; Jetty's own limit of 8 KiB is near.
# @param confdir
#   Puppet Server's folder with webserver.conf and auth.conf.
# @param door_ca_dir
#   A folder of this class's own for the door CA's files.
# @param puppet_ca
#   The Puppet CA's certificates as the agent has them. A door CA that shares a key with them is refused: it would let every
#   agent in.
# @param service
#   The name of Puppet Server's service, which PE's classes declare.
class stagedoor::sealed::pe (
  String[1]                  $door_ca,
  String[1]                  $door_crl,
  Array[Stagedoor::Certname] $doors                   = [],
  Enum['present', 'absent']  $ensure                  = 'present',
  Integer[8192, 1048576]     $request_header_max_size = 65536,
  Stagedoor::Absolutepath    $confdir                 = '/etc/puppetlabs/puppetserver/conf.d',
  Stagedoor::Absolutepath    $door_ca_dir             = '/etc/puppetlabs/puppetserver/stagedoor',
  Stagedoor::Absolutepath    $puppet_ca               = '/etc/puppetlabs/puppet/ssl/certs/ca.pem',
  String[1]                  $service                 = 'pe-puppetserver',
) {
  $webserver = "${confdir}/webserver.conf"
  $auth      = "${confdir}/auth.conf"
  $section   = 'webserver.puppet-server'

  class { 'stagedoor::door_ca':
    ensure    => $ensure,
    folder    => $door_ca_dir,
    ca        => $door_ca,
    crl       => $door_crl,
    puppet_ca => $puppet_ca,
  }

  # PE's settings are found by what they set: their titles have changed from one release to the next.
  if $ensure == 'present' {
    Pe_hocon_setting <| setting == "${section}.client-auth" |> { value => 'need' }
    Pe_hocon_setting <| setting == "${section}.ssl-ca-cert" |> { value => "${door_ca_dir}/ca.pem" }
    Pe_hocon_setting <| setting == "${section}.ssl-crl-path" |> { value => "${door_ca_dir}/crl.pem" }
    # A list of one: PE's define has `ensure => present` as its default, and an override that says the same as the default is
    # dropped, although this one resource says `absent`.
    Pe_hocon_setting <| setting == "${section}.request-header-max-size" |> {
      ensure => ['present'],
      value  => $request_header_max_size,
    }
    Pe_puppet_authorization <| title == $auth |> { allow_header_cert_info => true }

    # The last word before header identity goes on. It changes something only where a release of PE writes these settings in
    # a way that was not found above.
    stagedoor_settings { $webserver:
      settings => {
        "${section}.client-auth"             => 'need',
        "${section}.ssl-ca-cert"             => "${door_ca_dir}/ca.pem",
        "${section}.ssl-crl-path"            => "${door_ca_dir}/crl.pem",
        "${section}.request-header-max-size" => $request_header_max_size,
      },
      refuse   => ["${section}.host", "${section}.port"],
      notify   => Service[$service],
    }
    # A new revocation list is taken without a restart.
    File["${door_ca_dir}/ca.pem"] ~> Service[$service]
    Class['stagedoor::door_ca']
    -> Pe_hocon_setting <|
      setting == "${section}.client-auth" or setting == "${section}.ssl-ca-cert" or setting == "${section}.ssl-crl-path"
      or setting == "${section}.request-header-max-size"
    |>
    -> Stagedoor_settings[$webserver]
    -> Pe_puppet_authorization[$auth]
  } else {
    Pe_puppet_authorization[$auth]
    -> Pe_hocon_setting <|
      setting == "${section}.client-auth" or setting == "${section}.ssl-ca-cert" or setting == "${section}.ssl-crl-path"
      or setting == "${section}.request-header-max-size"
    |>
    -> Service[$service]
    -> Class['stagedoor::door_ca']
  }

  unless $doors.empty {
    pe_puppet_authorization::rule { 'stagedoor environment cache':
      ensure               => $ensure,
      path                 => $auth,
      match_request_path   => '/puppet-admin-api/v1/environment-cache',
      match_request_type   => 'path',
      match_request_method => 'delete',
      allow                => $doors,
      sort_order           => 300,
      require              => Pe_puppet_authorization[$auth],
      notify               => Service[$service],
    }
  }
}
