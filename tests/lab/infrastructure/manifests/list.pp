# @summary A list of certnames in a file: those that are always on it, and what compile masters have exported.
#
# Each name is a file of its own beside the list, and those that nobody exports any more are removed, so that a name goes
# when its node is deactivated in PuppetDB. A line that is only ever added would stay.
#
# @param always
#   Certnames that need no export.
define infrastructure::list (
  Array[String] $always,
) {
  $parts = "${title}.d"
  file { $parts:
    ensure  => directory,
    recurse => true,
    purge   => true,
  }
  $always.each |$certname| {
    file { "${parts}/${certname}":
      ensure  => file,
      content => "${certname}\n",
    }
  }
  Infrastructure::Listed <<| |>> {
    folder => $parts,
  }
  # Made of what lies there rather than told of a change, so that a run that died halfway is made up for by the next.
  exec { "names in ${title}":
    command  => "cat ${parts}/* >${title}",
    unless   => "cat ${parts}/* | cmp -s - ${title}",
    provider => shell,
    path     => '/usr/bin:/bin',
    require  => File[$parts],
  }
  Infrastructure::Listed <| |> -> Exec["names in ${title}"]
  $always.each |$certname| {
    File["${parts}/${certname}"] -> Exec["names in ${title}"]
  }
}
