# @summary A certname on a list. Compile masters export it; who keeps a list collects it and says where it lies.
#
# @param folder
#   The folder that holds the parts of the list, which only its keeper knows.
define infrastructure::listed (
  Optional[String] $folder = undef,
) {
  file { "${folder}/${title}":
    ensure  => file,
    content => "${title}\n",
  }
}
