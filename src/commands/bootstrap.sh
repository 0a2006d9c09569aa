#!/bin/sh
# Brings the machine that it runs on into its fleet: installs nothing, but fetches this host's release with Bento's agent,
# which it carries, activates it as any later upgrade would, and goes back if the server can't be reached any more. From then
# on the configuration's own agent (services.bento) takes over. Run it as root on the machine itself, as often as you like:
#
#   bento bootstrap HOST | ssh root@MACHINE sh
#
# Where the server doesn't know the machine yet it says what to do about that, and changes nothing. What is to be entered into
# the fleet is on stdout, everything else on stderr.
#
# Exit status: the agent's; 2 when this machine can't take part yet.
host='@host@'
# The key that fleet.yaml has for this host; empty for a new machine.
pinned='@key@'
# The command that enters the key of a new machine; empty where the line for fleet.yaml is said instead.
enter='@enter@'

tell() { echo "bootstrap: $1" >&2; }

fail() {
  tell "$1"
  exit 2
}

unpack() {
  # Its end is far below: the archive is the rest of this function.
  base64 -d << 'ARCHIVE' | gzip -dc | nix-store --restore "$1"
@archive@
ARCHIVE
}

have() { command -v "$1" > /dev/null 2>&1; }

# find_key: sets $key to the file that this machine logs in with, which is made where there is none, and $actual to its public
# half.
find_key() {
  key=${BENTO_KEY:-/etc/ssh/ssh_host_ed25519_key}
  if [ ! -e "$key" ]; then
    have ssh-keygen || fail "there is no $key, and no ssh-keygen to make it"
    mkdir -p "${key%/*}"
    rm -f "$key.new" "$key.new.pub"
    ssh-keygen -q -t ed25519 -N '' -C "root@$host" -f "$key.new"
    chmod 644 "$key.new.pub"
    # Cut off in between, the next one begins again: without the private half there is no key.
    mv "$key.new.pub" "$key.pub"
    sync
    mv "$key.new" "$key"
    tell "made this machine's key, $key"
  fi
  actual=$(public_half "$key") || fail "$key is no private key without a passphrase"
}

# public_half FILE: without its comment.
public_half() {
  if [ -e "$1.pub" ]; then cut -d' ' -f1,2 "$1.pub"; else ssh-keygen -y -P '' -f "$1" 2> /dev/null | cut -d' ' -f1,2 | grep .; fi
}

# agent VERB: of the one that this script carries.
agent() {
  if have bash && have jq && have ssh && have sftp && have git && have gzip; then
    bash "$scratch/bento/agent/bento-agent" "$1"
  else
    # A fresh NixOS has no jq.
    have nix-shell || fail 'it needs bash, jq, openssh, git and gzip'
    nix-shell -p bash jq openssh git gzip --run "bash '$scratch/bento/agent/bento-agent' $1"
  fi
}

# be_let_in: ends here unless the server lets this machine in.
be_let_in() {
  word=$(agent contact 2> "$scratch/said") || true
  why=$(tail -n 1 "$scratch/said")
  case $word in
    known) return ;;
    unknown)
      [ -z "$pinned" ] || fail "the server does not let this machine in yet, although fleet.yaml has its key: $why.
Set the server up with the fleet.json that has $host (docs/server.md), and run this again."
      tell 'the server does not know this machine yet.'
      say_entry
      exit 2
      ;;
    unreachable)
      tell "the server can't be reached from this machine: $why."
      [ -n "$pinned" ] || say_entry
      exit 75
      ;;
    wrong-host-key)
      tell "what answers is not the fleet's server, or has another key than fleet.yaml says: $why."
      exit 1
      ;;
    *) fail "whether the server lets this machine in can't be found out: $why" ;;
  esac
}

# say_entry: what makes a new machine known.
say_entry() {
  if [ -n "$enter" ]; then
    tell "bring this machine's configuration to hosts/$host in the fleet's repository, and there run:"
    echo "$enter --key '$actual root@$host'"
  else
    tell "write this into fleet.yaml, below $host, and run 'bento render':"
    echo "key: \"$actual root@$host\""
  fi
  tell 'then commit and deploy, see to it that the server has the new fleet.json, and run this again.'
}

main() {
  set -eu
  umask 077
  [ "$(id -u)" -eq 0 ] || fail 'run it as root'
  have nix-store || fail 'this machine has no Nix'
  scratch=$(mktemp -d)
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
  find_key
  if [ -n "$pinned" ] && [ "$actual" != "$pinned" ]; then
    fail "this machine's key is not the one that fleet.yaml has for $host. Its line there must be:
  key: \"$actual root@$host\""
  fi
  unpack "$scratch/bento"
  export BENTO_HOST="$host" BENTO_KEY="$key" BENTO_CONFIG="${BENTO_CONFIG:-$scratch/bento/bento.json}"
  be_let_in
  status=0
  agent upgrade || status=$?
  # A git remote may let in whom the fleet doesn't know.
  if [ -z "$pinned" ] && [ "$status" -eq 0 ] && [ ! -e "${BENTO_STATE:-/var/bento}/seen.json" ]; then
    tell 'if this machine is not in the fleet yet:'
    say_entry
  fi
  exit "$status"
}

# Standard input is this script itself, when it comes through a pipe: nothing that it runs may read it.
main < /dev/null
