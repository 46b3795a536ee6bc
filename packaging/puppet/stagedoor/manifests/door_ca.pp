# @summary The door CA's certificates and revocation lists on a master, looked at before anything trusts them.
#
# @param folder
#   Where they lie, as `ca.pem` and `crl.pem`.
# @param ca
#   PEM text, or where to copy it from.
# @param crl
#   PEM text, or where to copy it from.
# @param puppet_ca
#   The Puppet CA's certificates, which the door CA must have nothing in common with.
# @param ensure
#   Whether they are there.
#
# @api private
class stagedoor::door_ca (
  Stagedoor::Absolutepath   $folder,
  String[1]                 $ca,
  String[1]                 $crl,
  Stagedoor::Absolutepath   $puppet_ca,
  Enum['present', 'absent'] $ensure = 'present',
) {
  # In words of our own: Puppet's message about a parameter of the wrong type prints it, and it might be a key.
  unless $ca =~ Variant[Stagedoor::Certificates, Stagedoor::Source] {
    fail('door_ca: expected certificates as PEM and nothing else, a puppet:/// URL or an absolute path')
  }
  unless $crl =~ Variant[Stagedoor::Crls, Stagedoor::Source] {
    fail('door_crl: expected revocation lists as PEM and nothing else, a puppet:/// URL or an absolute path')
  }
  # A node that gets its catalog from itself is the Master of Masters, or an agent that could never ask again.
  if $ensure == 'present' and $trusted['authenticated'] == 'remote' and $settings::certname == $trusted['certname'] {
    fail("${trusted['certname']} compiles its own catalog and cannot be sealed: only a node whose agent asks another server can")
  }
  $there = $ensure ? {
    'present' => 'file',
    default   => 'absent',
  }
  $folder_there = $ensure ? {
    'present' => 'directory',
    default   => 'absent',
  }
  # Nothing in these files is secret; Puppet Server's account has to read them. Puppet Server takes a new revocation list as
  # soon as it lies there, so what is new lies beside them until it was looked at.
  file {
    default:
      ensure => $folder_there,
      owner  => 'root',
      group  => 'root',
      force  => true;
    $folder:
      mode => '0755';
    "${folder}/offered":
      mode => '0700';
  }
  $files = { 'ca.pem' => $ca, 'crl.pem' => $crl }
  $files.each |$name, $from| {
    $content = $from ? {
      Stagedoor::Source => undef,
      default           => $from,
    }
    $source = $from ? {
      Stagedoor::Source => $from,
      default           => undef,
    }
    file { ["${folder}/offered/${name}", "${folder}/${name}"]:
      ensure  => $there,
      content => $content,
      source  => $source,
      owner   => 'root',
      group   => 'root',
      mode    => '0644',
    }
  }
  if $ensure == 'present' {
    stagedoor_private_ca { "${folder}/offered/ca.pem":
      crl       => "${folder}/offered/crl.pem",
      puppet_ca => $puppet_ca,
      before    => File["${folder}/ca.pem", "${folder}/crl.pem"],
    }
  }
}
