# @summary Where Puppet Server and its agent keep their files on this node.
#
# The all-in-one packages of Puppet and OpenVox have a fact of their own; without it this is Debian's packaging.
#
# @return [Hash[String, String]]
#   `confdir`, `door_ca_dir`, `ssldir`: absolute paths; `service`: the name of Puppet Server's service
#
# @api private
function stagedoor::layout() >> Hash[String, String] {
  if $facts['aio_agent_version'] {
    $layout = {
      'confdir'     => '/etc/puppetlabs/puppetserver/conf.d',
      'door_ca_dir' => '/etc/puppetlabs/puppetserver/stagedoor',
      'ssldir'      => '/etc/puppetlabs/puppet/ssl',
      'service'     => 'puppetserver',
    }
  } else {
    $layout = {
      'confdir'     => '/etc/puppet/puppetserver/conf.d',
      'door_ca_dir' => '/etc/puppet/puppetserver/stagedoor',
      'ssldir'      => '/var/lib/puppet/ssl',
      'service'     => 'puppetserver',
    }
  }
  $layout
}
