#!/bin/sh
# Brings the machine that it runs on into its fleet: installs nothing, but fetches this host's release with Bento's agent,
# which it carries, activates it as any later upgrade would, and goes back if the server can't be reached any more. From then
# on the configuration's own agent (services.bento) takes over. Run it as root on the machine itself:
#
#   bento bootstrap HOST | ssh root@MACHINE sh
#
# Exit status: the agent's; 2 when this machine can't take part yet.
host='@host@'
pinned='@key@'

fail() {
  echo "bootstrap: $1" >&2
  exit 2
}

unpack() {
  # Its end is far below: the archive is the rest of this function.
  base64 -d << 'ARCHIVE' | gzip -dc | nix-store --restore "$1"
@archive@
ARCHIVE
}

have() { command -v "$1" > /dev/null 2>&1; }

main() {
  set -eu
  umask 077
  [ "$(id -u)" -eq 0 ] || fail 'run it as root'
  have nix-store || fail 'this machine has no Nix'
  key=${BENTO_KEY:-/etc/ssh/ssh_host_ed25519_key}
  if [ ! -e "$key" ]; then
    have ssh-keygen || fail "there is no $key, and no ssh-keygen to make it"
    ssh-keygen -q -t ed25519 -N '' -C "root@$host" -f "$key"
    echo "made this machine's host key, $key" >&2
  fi
  actual=$(cut -d' ' -f1,2 "$key.pub")
  if [ "$actual" != "$pinned" ]; then
    fail "this machine's key is not the one that fleet.yaml has for $host. Its line there must be:
  key: \"$actual root@$host\""
  fi
  scratch=$(mktemp -d)
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
  unpack "$scratch/bento"
  export BENTO_HOST="$host" BENTO_CONFIG="${BENTO_CONFIG:-$scratch/bento/bento.json}"
  agent=$scratch/bento/agent/bento-agent
  status=0
  if have bash && have jq && have ssh && have sftp && have git && have gzip; then
    bash "$agent" upgrade || status=$?
  else
    # A fresh NixOS has no jq.
    have nix-shell || fail 'it needs bash, jq, openssh, git and gzip'
    nix-shell -p bash jq openssh git gzip --run "bash $agent upgrade" || status=$?
  fi
  exit "$status"
}

# Standard input is this script itself, when it comes through a pipe: nothing that it runs may read it.
main < /dev/null
