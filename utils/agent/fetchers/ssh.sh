# shellcheck shell=bash
# How Bento's own fetchers are connected by ssh(1): to nobody but the pinned server, and by a connection of their own.

# connection ALIAS KEY: sets $connection, the options for it. The host keys of ALIAS in $scratch/known_hosts are those that count,
# and not what else this machine's user knows or believes: ssh takes what it is told here before what ssh_config(5) says.
connection() {
  local known config=${BENTO_SSH_CONFIG:-}
  connection=()
  if [ -n "$config" ]; then
    # A master that stays would answer in a network that has gone; and one to a jump host as well, whose ssh has this file, and
    # nothing of what is below.
    if [ -r "$config" ] && [[ $config =~ ^/[A-Za-z0-9/_.+=@:,-]+$ ]]; then
      printf '%s\n' 'ControlMaster no' 'ControlPath none' "Include $config" > "$scratch/ssh_config"
      config=$scratch/ssh_config
    fi
    connection+=(-F "$config")
  fi
  connection+=(
    -o IdentityFile="$2" -o IdentitiesOnly=yes -o BatchMode=yes -o PasswordAuthentication=no
    -o HostKeyAlias="$1" -o UserKnownHostsFile="$scratch/known_hosts" -o GlobalKnownHostsFile=/dev/null
    -o StrictHostKeyChecking=yes -o VerifyHostKeyDNS=no -o UpdateHostKeys=no -o CheckHostIP=no
    -o ControlMaster=no -o ControlPath=none
    -o ConnectTimeout="${BENTO_CONNECT_TIMEOUT:-20}" -o ServerAliveInterval=10 -o ServerAliveCountMax=3
  )
  # What not every ssh knows: the first since 8.5, the second some distributions'. IgnoreUnknown is for this question alone, since the
  # configuration's own would count for nothing beside it. -G asks nobody.
  known=$(ssh -F none -G -o IgnoreUnknown=KnownHostsCommand,GSSAPIKeyExchange -o KnownHostsCommand=/none -o GSSAPIKeyExchange=no \
    "$1" 2> /dev/null) || known=
  [[ $known != *$'\nknownhostscommand /'* ]] || connection+=(-o KnownHostsCommand=none)
  # A server that has proved itself by Kerberos shows no host key.
  [[ $known != *$'\ngssapikeyexchange '* ]] || connection+=(-o GSSAPIKeyExchange=no)
}
