#!/bin/bash
# Served by @MOM@
#
# Makes this machine an agent of that server:
#
#   curl --cacert CA https://@MOM@:8140/packages/current/install.bash | bash -s SECTION:SETTING=VALUE ...
#
# SECTION is one of puppet.conf's (main, server, agent, user), or extension_requests or custom_attributes for what the
# certificate request says. Without arguments the agent asks the server that served this.
set -euo pipefail

readonly server=@MOM@ puppet=@PROGRAMS@/puppet hostname=@PROGRAMS@/hostname
readonly expected='^(main|server|master|agent|user|custom_attributes|extension_requests):([^=]+)=(.*)$'

main() {
  # All arguments are looked at before anything is set.
  local entry
  for entry in "$@"; do
    if ! [[ $entry =~ $expected ]]; then
      echo "install.bash: unable to interpret argument: '$entry'. Expected '<section>:<setting>=<value>' matching regex: '$expected'" >&2
      exit 1
    fi
  done

  echo "install.bash: served by $server; the packages of Puppet are here"
  set_in_puppet_conf main server "$server"
  set_in_puppet_conf main certname "$("$hostname" | tr '[:upper:]' '[:lower:]')"
  local extensions=() attributes=()
  for entry in "$@"; do
    [[ $entry =~ $expected ]]
    case ${BASH_REMATCH[1]} in
    extension_requests) extensions+=("${BASH_REMATCH[2]}: '${BASH_REMATCH[3]}'") ;;
    custom_attributes) attributes+=("${BASH_REMATCH[2]}: '${BASH_REMATCH[3]}'") ;;
    *) set_in_puppet_conf "${BASH_REMATCH[@]:1:3}" ;;
    esac
  done
  if [ $((${#extensions[@]} + ${#attributes[@]})) != 0 ]; then
    local file
    file=$("$puppet" config print csr_attributes)
    {
      echo ---
      under custom_attributes "${attributes[@]}"
      under extension_requests "${extensions[@]}"
    } >"$file"
    echo "install.bash: wrote $file"
  fi
  echo "install.bash: $("$hostname") is an agent of $("$puppet" config print server)"
}

set_in_puppet_conf() {
  "$puppet" config set "$2" "$3" --section "$1"
  echo "install.bash: $1: $2 = $3"
}

under() {
  if [ $# = 1 ]; then return; fi
  echo "$1:"
  printf '  %s\n' "${@:2}"
}

main "$@"
