# @summary A compile master, made and kept by runs of its own agent: what Puppet Server's package and a site's own code do.
#
# @param folder
#   The machine's folder.
# @param package
#   What the package would bring.
# @param door_ca
#   The door CA's certificate, on the MoM.
# @param door_crl
#   Its revocation list, where the master can copy it from.
# @param doors
#   The doors, by the names in their certificates of the door CA.
# @param shall
#   What it shall be: sealed or open. The other two must never happen at a site: opened by another module while header
#   identity stays on, and sealed by the Puppet CA, so that every agent gets in.
class infrastructure::compile_master (
  String                                                      $folder,
  String                                                      $package,
  String                                                      $door_ca,
  String                                                      $door_crl,
  Array[String]                                               $doors,
  Enum['sealed', 'open', 'unsealed', "sealed by puppet's ca"] $shall = 'sealed',
) {
  # As a package manager leaves settings files alone once they are there: sealing changes them.
  file { $folder:
    ensure  => directory,
    source  => $package,
    recurse => remote,
    replace => false,
  }
  file { "${folder}/service":
    ensure => file,
    source => "${package}/service",
    mode   => '0755',
  }
  file { ["${folder}/var", "${folder}/run", "${folder}/log"]:
    ensure => directory,
    owner  => 'puppet',
    group  => 'puppet',
  }
  # Its agent's settings are in the same file, as somebody has set them; `puppet config set` leaves a last line without an end.
  $conf = "${folder}/puppet/puppet.conf"
  $section = "grep -qx '\\[server\\]' ${conf} || printf '\\n[server]\\n' >>${conf}"
  exec { 'settings of the server':
    command  => "${section}; sed -i '/^\\[server\\]\$/r ${package}.settings' ${conf}",
    unless   => "grep -q '^storeconfigs_backend' ${conf}",
    provider => shell,
    path     => '/usr/bin:/bin',
    before   => Service['puppetserver'],
  }

  # PuppetDB and the console learn of this master by their own next runs.
  @@infrastructure::listed { $trusted['certname']: }

  # A machine with a service manager needs nothing of this but `ensure`.
  service { 'puppetserver':
    ensure     => running,
    provider   => base,
    hasrestart => true,
    start      => "${folder}/service start",
    stop       => "${folder}/service stop",
    status     => "${folder}/service status",
    restart    => "${folder}/service restart",
    require    => File["${folder}/service", "${folder}/var", "${folder}/run", "${folder}/log"],
  }

  case $shall {
    'sealed', 'open': {
      $seal = $shall ? {
        'sealed' => 'present',
        default  => 'absent',
      }
      # The certificate comes as text, read where the catalog is compiled, the revocation list as a place to copy it from:
      # the two ways in which the class takes either.
      class { 'stagedoor::sealed':
        ensure         => $seal,
        door_ca        => file($door_ca),
        door_crl       => $door_crl,
        doors          => $doors,
        confdir        => "${folder}/conf.d",
        door_ca_dir    => "${folder}/stagedoor",
        ssldir         => "${folder}/ssl",
        manage_service => false,
        require        => File[$folder],
      }
    }
    'unsealed': {
      stagedoor_settings { "${folder}/conf.d/webserver.conf":
        settings => { 'webserver.client-auth' => 'want' },
        remove   => ['webserver.ssl-cert', 'webserver.ssl-key', 'webserver.ssl-ca-cert', 'webserver.ssl-crl-path'],
        notify   => Service['puppetserver'],
      }
    }
    default: {
      stagedoor_settings { "${folder}/conf.d/webserver.conf":
        settings => {
          'webserver.ssl-ca-cert'  => "${folder}/ssl/certs/ca.pem",
          'webserver.ssl-crl-path' => "${folder}/ssl/crl.pem",
        },
        notify   => Service['puppetserver'],
      }
    }
  }
}
