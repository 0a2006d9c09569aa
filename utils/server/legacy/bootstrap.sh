#!/bin/sh
# Made by Bento from fleet.yaml, which has server.tree: for a machine that still has the Bento of 2022, whose timer and
# update.sh start it. Fetches what is published for this host into /var/bento, switches to it, and leaves a log of that
# at the server.
#
#   bootstrap.sh              fetch and switch
#   bootstrap.sh poll         the same, when there is something new
#   bootstrap.sh autoupdate   switch to what is in /var/bento
#
# Exit status: 0, also when the log says failure; 75 when nothing was changed, since nothing could be fetched.
address=@address@
port=@port@
login=@login@
# flake: an attribute of nixosConfigurations; channel: the file to begin with.
kind=@kind@
attr=@attr@
host_keys=@hostKeys@
# Of the release that this came with. A line for this script to find in the one that it fetches, too.
sequence=@sequence@

dir=/var/bento
profile=/nix/var/nix/profiles/system

# Runs the sftp commands on standard input. Only a pinned host key is believed, whatever this machine's ssh_config says, and over a
# connection of its own: one that another program has left open would answer in a network that is gone.
server() {
  # What not every ssh knows: the first since 8.5, the second some distributions'. -G asks nobody.
  known=$(ssh -F none -G -o IgnoreUnknown=KnownHostsCommand,GSSAPIKeyExchange -o KnownHostsCommand=/none -o GSSAPIKeyExchange=no \
    bento-server 2> /dev/null)
  set --
  case $known in *'knownhostscommand /'*) set -- -o KnownHostsCommand=none ;; esac
  # A server that has proved itself by Kerberos shows no host key.
  case $known in *gssapikeyexchange*) set -- "$@" -o GSSAPIKeyExchange=no ;; esac
  printf '%s\n' "$host_keys" | sed 's/^/bento-server /' > "$dir/.known_hosts" &&
    sftp -q -b - -P "$port" -o ConnectTimeout=20 -o ServerAliveInterval=20 -o HostKeyAlias=bento-server \
      -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=none -o UserKnownHostsFile="$dir/.known_hosts" \
      -o VerifyHostKeyDNS=no -o UpdateHostKeys=no -o CheckHostIP=no -o ControlMaster=no -o ControlPath=none "$@" "$login@$address"
}

# The line that says when the configuration changed, among what sftp has printed.
changed() { grep '^-.*last_change_date$'; }

name_of() { basename "$(readlink -f "$1")"; }

# Everything is there before anything is given up.
fetch() {
  fresh=$(mktemp -d "$dir.XXXXXXXX") || return 1
  if printf 'lcd %s\ncd config\nget -R .\n' "$fresh" | server > /dev/null && [ -s "$fresh/bootstrap.sh" ]; then
    find . -mindepth 1 -maxdepth 1 ! -name .state ! -name .known_hosts -exec rm -rf {} +
    find "$fresh" -mindepth 1 -maxdepth 1 -exec mv {} . \;
    rmdir "$fresh"
  else
    rm -rf "$fresh"
    return 1
  fi
  [ "$kind" = flake ] || return 0
  # A flake is what git knows of it: the release, and none of what is here besides.
  git init -q . && git add -A -f . &&
    git rm -q --cached --ignore-unmatch update.sh bootstrap.sh .state .known_hosts
}

rebuild() {
  if [ "$kind" = flake ]; then
    nixos-rebuild "$1" --flake ".#$attr"
  else
    channels=/nix/var/nix/profiles/per-user/root/channels
    NIX_PATH=nixpkgs=$channels/nixos:nixos-config=$dir/$attr:$channels nixos-rebuild "$1" --no-flake --upgrade
  fi
}

# Gives what became of it, as the log's name says it.
switch() {
  before=$(readlink -f "$profile")
  if ! rebuild build >> "$log" 2>&1; then
    echo failure
    return
  fi
  if [ "$(name_of result)" = "$(basename "$before")" ]; then
    echo success
    return
  fi
  rebuild switch >> "$log" 2>&1
  status=$?
  # What cuts this machine off from its server is taken back.
  if ! echo 'ls -l last_change_date' | server >> "$log" 2>&1; then
    {
      echo 'the server can not be reached any more: going back'
      nix-env --profile "$profile" --set "$before"
      "$before/bin/switch-to-configuration" switch
    } >> "$log" 2>&1
    echo rollback
  # nixos-rebuild has been seen to end well with a full /boot.
  elif [ "$status" -ne 0 ] || grep -q 'No space left' "$log"; then
    echo failure
  else
    echo "$1"
  fi
}

upgrade() {
  good=success
  if [ "$1" = autoupdate ]; then
    good=autoupdate
  elif ! fetch; then
    echo 'nothing could be fetched' >&2
    return 75
  fi
  log=$(mktemp "$dir-log.XXXXXXXX") || return 1
  # What was fetched may be newer than this script, and what is published when this has ended newer still.
  sequence=$(sed -n "s/^sequence='\([0-9]*\)'$/\1/p" bootstrap.sh)
  outcome=$(switch "$good")
  cat "$log"
  gzip -9 "$log"
  echo "put $log.gz /logs/$(date +%Y%m%d-%H%M)_$(name_of "$profile")_$outcome${sequence:+_$sequence}.log.gz" | server
  rm -f "$log.gz"
  echo "$outcome"
  [ "$outcome" = "$good" ] && [ -f REBOOT ] && reboot_if_needed
  return 0
}

reboot_if_needed() {
  for part in initrd kernel kernel-modules; do
    [ "$(readlink -f "/run/booted-system/$part")" = "$(readlink -f "$profile/$part")" ] && continue
    systemctl kexec || systemctl reboot
    return
  done
}

poll() {
  now=$(echo 'ls -l last_change_date' | server | changed) || { echo "no answer from $address" >&2; return 1; }
  if [ "$now" != "$(changed < .state)" ]; then
    # Whatever it is that fetches and builds may have changed as well.
    if ! echo 'get config/bootstrap.sh .bootstrap.new' | server > /dev/null; then return 75; fi
    mv .bootstrap.new bootstrap.sh
    /bin/sh ./bootstrap.sh || return
    printf '%s\n' "$now" > .state
  elif [ -f SELF_UPDATE ] && [ -f flake.lock ]; then
    lock=$(cksum < flake.lock)
    nix --extra-experimental-features 'nix-command flakes' flake update && [ "$lock" != "$(cksum < flake.lock)" ] &&
      upgrade autoupdate
  else
    echo 'nothing new'
  fi
}

main() {
  umask 077
  mkdir -p "$dir" && cd "$dir" && touch .state || exit 1
  case ${1:-} in
    poll) poll ;;
    *) upgrade "${1:-}" ;;
  esac
}

# In one line, since this file may be replaced while it runs.
main "$@"; exit
