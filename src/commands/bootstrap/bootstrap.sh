#!/bin/sh
# Brings the machine that it runs on into its fleet: installs nothing, but fetches this host's release with Bento's agent,
# which it carries, activates it as any later upgrade would, and goes back if the server can't be reached any more. From then
# on the configuration's own agent (services.bento) takes over. Run it as root on the machine itself, as often as you like:
#
#   bento bootstrap HOST | ssh root@MACHINE sh
#
# A connection that breaks doesn't matter: the upgrade goes on by itself, and whoever runs this again sees what becomes of it. On a
# machine that the 2022 Bento looks after, it takes over from that.
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
# Its address; empty in a fleet that has none.
server='@server@'

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
  take_old_key
  if [ ! -e "$key" ]; then
    have ssh-keygen || fail "there is no $key, and no ssh-keygen to make it"
    mkdir -p "${key%/*}"
    rm -f "$key.new" "$key.new.pub"
    ssh-keygen -q -t ed25519 -N '' -C "root@$host" -f "$key.new"
    install_key
    tell "made this machine's key, $key"
  fi
  actual=$(public_half "$key") || fail "$key is no private key without a passphrase"
}

# install_key: $key.new becomes $key. Cut off in between, the next one begins again: without the private half there is no key.
install_key() {
  chmod 644 "$key.new.pub"
  mv "$key.new.pub" "$key.pub"
  sync "$key.pub" "$key.new" "${key%/*}"
  mv "$key.new" "$key"
  sync "${key%/*}"
}

# public_half FILE: without its comment.
public_half() {
  if [ -e "$1.pub" ]; then cut -d' ' -f1,2 "$1.pub"; else ssh-keygen -y -P '' -f "$1" 2> /dev/null | cut -d' ' -f1,2 | grep .; fi
}

# take_old_key: where the 2022 Bento's key, one of root's, is the one that the fleet knows, it is this machine's key: copied to
# $key when nothing is there, and otherwise used where it is.
take_old_key() {
  if [ -e "$key" ] && [ "$(public_half "$key")" = "$pinned" ]; then return; fi
  if [ -z "$pinned" ] && [ ! -e "$state/update.sh" ]; then return; fi
  old=$(old_key) || return 0
  if [ -e "$key" ] || ! is_ed25519 "$old"; then
    key=$old
    tell "it logs in with $key, so its configuration must have services.bento.key = \"$key\";"
    return
  fi
  mkdir -p "${key%/*}"
  rm -f "$key.new"
  cp "$old" "$key.new"
  chmod 600 "$key.new"
  echo "$(public_half "$old") root@$host" > "$key.new.pub"
  install_key
  tell "copied the key that the fleet knows, $old, to $key"
}

# old_key: prints the first of the keys that root logs in with at the server which fleet.yaml has; for a new machine, the first.
old_key() {
  { [ -z "$server" ] || ssh -G "$server" 2> /dev/null | sed -n 's/^identityfile //p'; echo "${HOME:-/root}/.ssh/id_ed25519"; } |
    while IFS= read -r file; do
      # shellcheck disable=SC2088
      case $file in '~/'*) file=${HOME:-/root}/${file#'~/'} ;; esac
      if [ -e "$file" ] && half=$(public_half "$file") && [ "$half" = "${pinned:-$half}" ]; then
        echo "$file"
        break
      fi
    done | grep .
}

is_ed25519() { case $(public_half "$1") in 'ssh-ed25519 '*) ;; *) return 1 ;; esac; }

# with_programs COMMAND: in a shell that has what the agent calls.
with_programs() {
  if have bash && have jq && have ssh && have sftp && have git && have gzip; then
    sh -c "$1"
  else
    # A fresh NixOS has no jq.
    have nix-shell || fail 'it needs bash, jq, openssh, git and gzip'
    nix-shell -p bash jq openssh git gzip --run "$1"
  fi
}

# be_let_in: ends here unless the server lets this machine in.
be_let_in() {
  word=$(with_programs "bash '$bento/agent/bento-agent' contact" 2> "$scratch/said") || true
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

# unpack_agent: sets $bento to where everything is. In the store, so that the way back outlives whatever becomes of this script.
unpack_agent() {
  unpack "$scratch/bento"
  bento=$(nix-store --add "$scratch/bento")
  nix-store --realise "$bento" --add-root "$dir/bento" --indirect > /dev/null
}

# is_upgrading: whether an earlier run of this still goes on.
is_upgrading() { [ -e "$dir/lock" ] && ! flock -n "$dir/lock" true; }

# start_upgrade: apart from this script and its connection, in a unit of its own where there is systemd.
start_upgrade() {
  rm -f "$dir/status" "$dir/pid" "$dir/log"
  run="setsid bash '$dir/start' > /dev/null 2>&1 &"
  # A build that was killed for want of memory is a failed build, and nothing more.
  if [ "${BENTO_GUARD:-systemd}" = systemd ] && [ -d /run/systemd/system ]; then
    run="systemd-run --quiet --collect --property=OOMPolicy=continue --unit=bento-bootstrap-$$ \"\$(command -v bash)\" '$dir/start'"
  fi
  # With the environment that it has here, but for temporary places that nix-shell takes away again.
  with_programs "{ export -p; echo 'unset TMPDIR TMP TEMP TEMPDIR NIX_BUILD_TOP; exec sh \"$bento/upgrade\" \"$dir\"'; } > '$dir/start'
$run"
  tries=0
  until [ -e "$dir/pid" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 100 ] || fail 'the upgrade could not be started'
    sleep 0.1
  done
  rm -f "$dir/start"
}

# follow_upgrade: shows what it says until it has ended, and sets $status to how.
follow_upgrade() {
  read -r pid < "$dir/pid"
  tail -n +1 -s 0.2 -f --pid="$pid" "$dir/log" >&2 &
  shown=$!
  trap 'kill "$shown" 2> /dev/null; tell "the upgrade goes on by itself; run this again to see what becomes of it"; exit 130' INT TERM HUP
  wait "$shown" || true
  status=1
  if [ -e "$dir/status" ]; then
    read -r status < "$dir/status"
  elif is_upgrading; then
    # Nobody reads what this says any more.
    exit 130
  else
    tell 'the upgrade was cut off: run this again'
  fi
}

main() {
  set -eu
  umask 077
  [ "$(id -u)" -eq 0 ] || fail 'run it as root'
  have nix-store || fail 'this machine has no Nix'
  have flock || fail 'this machine has no flock, which every NixOS has'
  state=${BENTO_STATE:-/var/bento}
  dir=${BENTO_RUN:-/run/bento}/bootstrap
  mkdir -p "$dir"
  scratch=$(mktemp -d)
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
  if is_upgrading; then
    tell 'an upgrade that was started before is still going on:'
  else
    find_key
    if [ -n "$pinned" ] && [ "$actual" != "$pinned" ]; then
      fail "this machine's key is not the one that fleet.yaml has for $host. Its line there must be:
  key: \"$actual root@$host\""
    fi
    unpack_agent
    export BENTO_HOST="$host" BENTO_KEY="$key" BENTO_CONFIG="${BENTO_CONFIG:-$bento/bento.json}"
    export BENTO_HEALTH_CHECKS="${BENTO_HEALTH_CHECKS:-$bento/checks}"
    # Somebody is here, and runs this again because it failed before.
    export BENTO_BACKOFF="${BENTO_BACKOFF:-0}"
    be_let_in
    start_upgrade
  fi
  follow_upgrade
  # A git remote may let in whom the fleet doesn't know.
  if [ -z "$pinned" ] && [ "$status" -eq 0 ] && [ ! -e "$state/seen.json" ]; then
    tell 'if this machine is not in the fleet yet:'
    say_entry
  fi
  exit "$status"
}

# Standard input is this script itself, when it comes through a pipe: nothing that it runs may read it.
main < /dev/null
