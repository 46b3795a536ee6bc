# @summary Seals a compile master of open-source Puppet or OpenVox, and opens it again.
#
# A sealed master takes clients' identity from headers, and its TLS port accepts client certificates of the door CA
# alone. Header identity and an open port together let whoever reaches it be any node, so the two are never on disk
# together: the port is sealed before header identity is switched on, and header identity is switched off before the
# port is opened. Both take effect in one restart of Puppet Server.
#
# @example Seal
#   class { 'stagedoor::sealed':
#     door_ca  => file('profile/door-ca.pem'),
#     door_crl => file('profile/door-crl.pem'),
#     doors    => ['door1.example.com', 'door2.example.com'],
#   }
#
# @example The way back
#   class { 'stagedoor::sealed':
#     ensure   => absent,
#     door_ca  => file('profile/door-ca.pem'),
#     door_crl => file('profile/door-crl.pem'),
#   }
#
# @param door_ca
#   Certificates of the door CA (two while it is being replaced): PEM text, or a `puppet:///` URL or absolute path to
#   copy it from. Never its key.
# @param door_crl
#   Revocation lists of the door CA, one for each certificate in `door_ca`: PEM text, URL or path.
# @param doors
#   The doors that may flush environment caches, each by the CN of its certificate of the door CA. Nobody else reaches
#   that API on a sealed master.
# @param ensure
#   `present` seals, `absent` restores what Puppet's packages ship: `client-auth: want`, Puppet's own CA, no header
#   identity.
# @param request_header_max_size
#   The longest request head in bytes. The certificate of an agent travels in a header; Jetty's own limit of 8 KiB is near.
# @param confdir
#   Puppet Server's folder with webserver.conf and auth.conf.
# @param door_ca_dir
#   A folder of this class's own for the door CA's files.
# @param ssldir
#   The agent's folder of certificates and keys, from which the next three follow.
# @param ssl_cert
#   The master's own certificate, of the Puppet CA.
# @param ssl_key
#   Its key.
# @param puppet_ca
#   The Puppet CA's certificates as the agent has them. A door CA that shares a key with them is refused: it would let every
#   agent in.
# @param service
#   The name of Puppet Server's service.
# @param manage_service
#   Whether this class declares that service. With `false` it is declared elsewhere in the catalog, and restarted by this
#   class all the same.
# @param restart
#   A command that restarts the service, for a service that this class declares.
class stagedoor::sealed (
  String[1]                      $door_ca,
  String[1]                      $door_crl,
  Array[Stagedoor::Certname]     $doors                   = [],
  Enum['present', 'absent']      $ensure                  = 'present',
  Integer[8192, 1048576]         $request_header_max_size = 65536,
  Stagedoor::Absolutepath        $confdir                 = stagedoor::layout()['confdir'],
  Stagedoor::Absolutepath        $door_ca_dir             = stagedoor::layout()['door_ca_dir'],
  Stagedoor::Absolutepath        $ssldir                  = stagedoor::layout()['ssldir'],
  Stagedoor::Absolutepath        $ssl_cert                = "${ssldir}/certs/${trusted['certname']}.pem",
  Stagedoor::Absolutepath        $ssl_key                 = "${ssldir}/private_keys/${trusted['certname']}.pem",
  Stagedoor::Absolutepath        $puppet_ca               = "${ssldir}/certs/ca.pem",
  String[1]                      $service                 = stagedoor::layout()['service'],
  Boolean                        $manage_service          = true,
  Optional[String[1]]            $restart                 = undef,
) {
  if $manage_service {
    service { $service:
      ensure  => running,
      enable  => true,
      restart => $restart,
    }
  }

  class { 'stagedoor::door_ca':
    ensure    => $ensure,
    folder    => $door_ca_dir,
    ca        => $door_ca,
    crl       => $door_crl,
    puppet_ca => $puppet_ca,
  }

  # All four ssl lines, or Puppet Server takes those of puppet.conf: its own CA.
  $seal = {
    'webserver.client-auth'             => 'need',
    'webserver.ssl-cert'                => $ssl_cert,
    'webserver.ssl-key'                 => $ssl_key,
    'webserver.ssl-ca-cert'             => "${door_ca_dir}/ca.pem",
    'webserver.ssl-crl-path'            => "${door_ca_dir}/crl.pem",
    'webserver.request-header-max-size' => $request_header_max_size,
  }
  $flush = $doors ? {
    []      => 'absent',
    default => $ensure,
  }

  stagedoor_rule { 'stagedoor environment cache':
    ensure       => $flush,
    path         => "${confdir}/auth.conf",
    match_path   => '/puppet-admin-api/v1/environment-cache',
    match_method => 'delete',
    allow        => $doors,
    notify       => Service[$service],
  }

  if $ensure == 'present' {
    stagedoor_settings { "${confdir}/webserver.conf":
      settings => $seal,
      refuse   => ['webserver.host', 'webserver.port'],
      notify   => Service[$service],
    }
    stagedoor_settings { "${confdir}/auth.conf":
      settings => { 'authorization.allow-header-cert-info' => true },
      notify   => Service[$service],
    }
    Class['stagedoor::door_ca']
    -> Stagedoor_settings["${confdir}/webserver.conf"]
    -> Stagedoor_rule['stagedoor environment cache']
    -> Stagedoor_settings["${confdir}/auth.conf"]
    # A new revocation list is taken without a restart.
    File["${door_ca_dir}/ca.pem"] ~> Service[$service]
  } else {
    stagedoor_settings { "${confdir}/auth.conf":
      remove => ['authorization.allow-header-cert-info'],
      notify => Service[$service],
    }
    stagedoor_settings { "${confdir}/webserver.conf":
      settings => { 'webserver.client-auth' => 'want' },
      remove   => $seal.keys - 'webserver.client-auth',
      notify   => Service[$service],
    }
    Stagedoor_settings["${confdir}/auth.conf"]
    -> Stagedoor_rule['stagedoor environment cache']
    -> Stagedoor_settings["${confdir}/webserver.conf"]
    -> Service[$service]
    -> Class['stagedoor::door_ca']
  }
}
