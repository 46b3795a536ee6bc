# @summary The console's list of who may ask it. There is no console: a line in a file says that it would be restarted.
#
# @param folder
#   The machine's folder.
# @param always
#   Certnames that are on the list whatever masters there are.
class infrastructure::console (
  String        $folder,
  Array[String] $always,
) {
  file { "${folder}/console":
    ensure => directory,
  }
  infrastructure::list { "${folder}/console/allowlist":
    always => $always,
  }
  ~> exec { 'restart of the console':
    command     => "echo restart >>${folder}/console/restarts",
    refreshonly => true,
    provider    => shell,
    path        => '/usr/bin:/bin',
  }
}
