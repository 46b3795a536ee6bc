# @summary PuppetDB's list of who may ask it, kept by runs of its own agent. It is read when PuppetDB starts.
#
# @param folder
#   The machine's folder.
# @param always
#   Certnames that are on the list whatever masters there are.
class infrastructure::puppetdb (
  String        $folder,
  Array[String] $always,
) {
  infrastructure::list { "${folder}/allowlist":
    always => $always,
    notify => Service['puppetdb'],
  }
  service { 'puppetdb':
    ensure     => running,
    provider   => base,
    hasrestart => true,
    start      => "${folder}/service start",
    stop       => "${folder}/service stop",
    status     => "${folder}/service status",
    restart    => "${folder}/service restart",
  }
}
