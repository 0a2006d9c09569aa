# shellcheck shell=bash
# The demo's world: a fleet repository, a server (a real sshd on loopback), and one directory per machine. Everything is
# below $world, but for the logins that sshd needs; `leave_world` takes it all away again.
# Sourced; needs $root (the project) and $node (a Node.js of at least 22).
# shellcheck disable=SC2154 # they are the caller's

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
  port=$(free_port)
  make_fleet
  start_server
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
  for name in publisher signing "${hosts[@]/#/host-}"; do ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$world/keys/$name"; done
  mkdir "$world/sshd"
  ssh-keygen -q -t ed25519 -N '' -C 'the fleet server' -f "$world/sshd/host_key"
  echo "fleet $(public_key "$world/sshd/host_key")" > "$world/known_hosts"
  export BENTO_SSH_KEY_FILE=$world/keys/publisher BENTO_SIGNING_KEY_FILE=$world/keys/signing
}

public_key() { cut -d' ' -f1,2 "$1.pub"; }

# A port on loopback that nobody listens on.
free_port() {
  local candidate
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    candidate=$((20000 + RANDOM % 12000))
    if ! (: < "/dev/tcp/127.0.0.1/$candidate") 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "no free port was found on 127.0.0.1" >&2
  return 3
}

# A real sshd, set up from fleet.json as a fleet's server is.
start_server() {
  bash "$root/utils/server/provision" "$fleet/fleet.json" "$world/sshd" --listen 127.0.0.1 --port "$port" > /dev/null
  # Debian's sshd wants this directory, which its own service makes.
  if [ ! -e /run/sshd ]; then mkdir -m 755 /run/sshd && made_run_sshd=yes; fi
  "$(command -v sshd)" -f "$world/sshd/sshd_config" -E "$world/sshd/log"
  local deadline=$((SECONDS + 10))
  until [ -s "$world/sshd/sshd.pid" ] && (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "sshd did not start:" >&2
      cat "$world/sshd/log" >&2
      return 3
    fi
    sleep 0.1
  done
}

fleet_yaml() {
  cat << EOF
server:
  address: 127.0.0.1
  port: $port
  root: $world/server
  user: ${prefix}pub
  loginPrefix: $prefix
  hostKeys: [ "$(public_key "$world/sshd/host_key")" ]
  publishers: [ "$(public_key "$world/keys/publisher")" ]
signers: [ "$(public_key "$world/keys/signing")" ]
hosts:
  router: { key: "$(public_key "$world/keys/host-router")" }
  nas: { key: "$(public_key "$world/keys/host-nas")" }
  laptop-anna: { path: hosts/laptops, key: "$(public_key "$world/keys/host-laptop-anna")" }
  laptop-ben: { path: hosts/laptops, key: "$(public_key "$world/keys/host-laptop-ben")" }
EOF
}

# The fleet's git repository, as its administrator has it.
make_fleet() {
  fleet=$world/fleet
  cp -R "$root/scripts/demo-fleet" "$fleet"
  rm -rf "$fleet/nixpkgs" "$fleet/README.md"
  fleet_yaml > "$fleet/fleet.yaml"
  cd "$fleet" || return
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

# sftp_as HOST COMMAND: one command of sftp's with that machine's key and login.
sftp_as() {
  echo "$2" | sftp -q -b - -P "$port" -F none -o User="$prefix$1" -o IdentityFile="$world/keys/host-$1" -o IdentitiesOnly=yes \
    -o BatchMode=yes -o UserKnownHostsFile="$world/known_hosts" -o StrictHostKeyChecking=yes -o HostKeyAlias=fleet 127.0.0.1
}

count_reports() { find "$world/server/$1/reports" -name '[0-9]*.json' | wc -l; }

running() { basename "$(readlink -f "$world/machines/$1/run/current-system")"; }

# ---------------------------------------------------------------------------------------------------------------------

# Ends every process of the demo, takes away its logins, and removes its files.
leave_world() {
  [ -n "${world:-}" ] || return 0
  cd /
  remove_world "$world"
  [ -z "${made_run_sshd:-}" ] || rmdir /run/sshd 2> /dev/null || true
  world=
}

remove_world() {
  end_server "$1/sshd"
  end_processes "$1"
  if [ -e "$1/sshd" ]; then bash "$root/utils/server/deprovision" "$1/sshd" > /dev/null || true; fi
  chmod -R u+w "$1"
  rm -rf "$1"
}

# The listener and its sessions; sshd overwrites its environment, so `end_processes` doesn't see them.
end_server() {
  local pid
  [ -s "$1/sshd.pid" ] || return 0
  read -r pid < "$1/sshd.pid"
  # Not somebody else's process, which has got the number since.
  grep -qzF "$1/sshd_config" "/proc/$pid/cmdline" 2> /dev/null || return 0
  pkill -TERM -P "$pid" 2> /dev/null || true
  kill -TERM "$pid" 2> /dev/null || true
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
      if grep -qzxF "BENTO_DEMO_WORLD=$1" "$environment" 2> /dev/null; then
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
    remove_world "$left"
  done
}
