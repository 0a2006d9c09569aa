# shellcheck shell=bash
# The demo's world: a fleet repository, a server (a real sshd on loopback), and one directory per machine. Everything is
# below $world, but for the logins that sshd needs; `leave_world` takes it all away again.
# Sourced; needs $root (the project) and $node (a Node.js of at least 22).

hosts=(router nas laptop-anna laptop-ben)

bento() { "$node" "$root/dist/cli.js" "$@"; }

# sshd accepts a chroot only where every directory above it belongs to root and nobody else can write: not in /tmp.
make_world() {
  sweep_worlds
  world=$(mktemp -d /var/lib/bento-demo.XXXXXX)
  chmod 755 "$world"
  echo $$ > "$world/pid"
  # Whatever is started from here on carries this in its environment, which is how `leave_world` finds all of it.
  export BENTO_DEMO_WORLD=$world
  # Short, since a login has at most 32 characters; and its own for each demo, so that none is anybody's already.
  prefix="bd$$-"
  unset NAME
  private_store
  make_keys
  start_server
  make_fleet
  for host in "${hosts[@]}"; do make_machine "$host"; done
}

# A Nix store of the demo's own, so that this machine's isn't touched. Nix is as real as ever, only its paths differ.
private_store() {
  export NIX_REMOTE=local NIX_PATH='' HOME=$world/home
  export NIX_STORE_DIR=$world/nix/store NIX_STATE_DIR=$world/nix/var NIX_LOG_DIR=$world/nix/log NIX_CONF_DIR=$world/nix/conf
  export NIX_CONFIG='experimental-features = nix-command flakes
sandbox = false
build-users-group =
substituters ='
  mkdir -p "$HOME" "$NIX_CONF_DIR" "$NIX_STORE_DIR"
  nixpkgs=$world/nixpkgs
  cp -R "$root/scripts/demo-fleet/nixpkgs" "$nixpkgs"
  nix-store --version > /dev/null
  system=$(nix-instantiate --eval --expr builtins.currentSystem | tr -d '"')
  export NIX_PATH=nixpkgs=$nixpkgs
}

make_keys() {
  mkdir -m 700 "$world/keys"
  local name
  for name in publisher signing sshd; do ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$world/keys/$name"; done
  export BENTO_SSH_KEY_FILE=$world/keys/publisher BENTO_SIGNING_KEY_FILE=$world/keys/signing
}

public_key() { cut -d' ' -f1,2 "$1.pub"; }

# The fleet's git repository, as its administrator has it.
make_fleet() {
  fleet=$world/fleet
  cp -R "$root/scripts/demo-fleet" "$fleet"
  rm -rf "$fleet/nixpkgs" "$fleet/README.md"
  cp "$world/fleet.yaml" "$fleet/fleet.yaml"
  cd "$fleet"
  local flake
  for flake in hosts/*/flake.nix; do
    sed -i "s|@nixpkgs@|$nixpkgs|; s|@system@|$system|" "$flake"
    nix flake lock "path:$fleet/${flake%/flake.nix}" 2> /dev/null
  done
  bento render > /dev/null
  git init -q -b main
  git config user.name 'Ada, who keeps the fleet'
  git config user.email ada@example.org
  git add -A
  git commit -q -m 'A fleet of four'
}

# A machine before Bento: it runs and boots a system of its own, has a host key, and knows where its fleet lives.
make_machine() {
  local machine=$world/machines/$1
  mkdir -p "$machine/etc" "$machine/run" "$machine/profiles" "$machine/state"
  cp "$fleet/utils/bento.json" "$machine/etc/bento.json"
  cat > "$machine/factory.nix" << EOF
{ networking.hostName = "$1"; }
EOF
  nix-build "$nixpkgs/nixos" -A system --arg configuration "$machine/factory.nix" --out-link "$machine/factory" > /dev/null 2>&1
  local factory
  factory=$(readlink -f "$machine/factory")
  MACHINE=$machine "$factory/bin/switch-to-configuration" switch
  nix-env --profile "$machine/profiles/system" --set "$factory" 2> /dev/null
  ln -s "$factory" "$machine/run/booted-system"
}

# on HOST COMMAND…: runs COMMAND as if on that machine. Only the places differ from a machine of its own.
on() {
  local host=$1 machine=$world/machines/$1
  shift
  env MACHINE="$machine" \
    BENTO_HOST="$host" BENTO_CONFIG="$machine/etc/bento.json" BENTO_KEY="$world/keys/host-$host" \
    BENTO_STATE="$machine/state" BENTO_RUN="$machine/run/bento" \
    BENTO_PROFILE="$machine/profiles/system" BENTO_RUNNING="$machine/run/current-system" \
    BENTO_BOOTED="$machine/run/booted-system" BENTO_SSH_CONFIG="$machine/etc/ssh/ssh_config" \
    BENTO_GUARD=process BENTO_CONFIRM_TIMEOUT=10 BENTO_CONFIRM_SETTLE=1 \
    "$@"
}

agent() { on "$1" bash "$root/utils/agent/bento-agent" "${@:2}"; }

running() { basename "$(readlink -f "$world/machines/$1/run/current-system")"; }

# ---------------------------------------------------------------------------------------------------------------------

# Ends every process of the demo, takes away its logins, and removes its files.
leave_world() {
  [ -n "${world:-}" ] || return 0
  cd /
  end_processes "$world"
  if [ -e "$world/sshd" ]; then bash "$root/utils/server/deprovision" "$world/sshd" > /dev/null || true; fi
  [ -z "${made_run_sshd:-}" ] || rmdir /run/sshd 2> /dev/null || true
  chmod -R u+w "$world"
  rm -rf "$world"
  world=
}

# Every process that has `$1` as its world, but for this one and those it waits for.
end_processes() {
  local signal environment pid found
  for signal in TERM KILL; do
    found=
    for environment in /proc/[0-9]*/environ; do
      pid=${environment#/proc/}
      pid=${pid%/environ}
      if [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ]; then continue; fi
      if tr '\0' '\n' < "$environment" 2> /dev/null | grep -qxF "BENTO_DEMO_WORLD=$1"; then
        found=yes
        kill "-$signal" "$pid" 2> /dev/null || true
      fi
    done
    [ -n "$found" ] || return 0
    sleep 0.3
  done
}

# A demo that was killed outright could not clean up after itself: the next one does.
sweep_worlds() {
  local left
  for left in /var/lib/bento-demo.*; do
    [ -e "$left/pid" ] || continue
    if [ -e "$left/keep" ] || kill -0 "$(cat "$left/pid")" 2> /dev/null; then continue; fi
    echo "Removing what an earlier demo, which was killed, has left: $left"
    (world=$left made_run_sshd='' && leave_world)
  done
}
