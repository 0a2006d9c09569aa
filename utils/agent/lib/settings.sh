# shellcheck shell=bash
# Where everything is, and what utils/bento.json says. All of it can be moved by the environment, so that several hosts can
# live on one machine; what is not set is as on a machine of its own.

agent_version=0.1.0

bad_settings() {
  echo "bento-agent: $1" >&2
  exit 2
}

# whole_number NAME: the variable NAME must hold one.
whole_number() {
  [[ ${!1} =~ ^[0-9]{1,9}$ ]] || bad_settings "$1 must be a whole number of seconds or bytes, not '${!1}'"
}

load_settings() {
  export BENTO_HOST=${BENTO_HOST:-$(uname -n)}
  export BENTO_CONFIG=${BENTO_CONFIG:-$agent/../bento.json}
  export BENTO_STATE=${BENTO_STATE:-/var/bento}
  export BENTO_RUN=${BENTO_RUN:-/run/bento}
  export BENTO_KEY=${BENTO_KEY:-/etc/ssh/ssh_host_ed25519_key}
  export BENTO_PROFILE=${BENTO_PROFILE:-/nix/var/nix/profiles/system}
  export BENTO_RUNNING=${BENTO_RUNNING:-/run/current-system}
  export BENTO_BOOTED=${BENTO_BOOTED:-/run/booted-system}
  export BENTO_FETCHER=${BENTO_FETCHER:-sftp}
  export BENTO_REPORTER=${BENTO_REPORTER:-$BENTO_FETCHER}
  export BENTO_SSH_CONFIG=${BENTO_SSH_CONFIG:-}
  export BENTO_BUILD=${BENTO_BUILD:-auto}
  # A directory of executables, each of which says by its exit status whether this machine does its job.
  export BENTO_HEALTH_CHECKS=${BENTO_HEALTH_CHECKS:-}
  # Seconds: from the activation to the last moment for its confirmation; over which three passes are spread; for one health
  # check; for the activation itself; for contact to come back after a rollback.
  export BENTO_CONFIRM_TIMEOUT=${BENTO_CONFIRM_TIMEOUT:-180}
  export BENTO_CONFIRM_SETTLE=${BENTO_CONFIRM_SETTLE:-20}
  export BENTO_HEALTH_TIMEOUT=${BENTO_HEALTH_TIMEOUT:-30}
  export BENTO_ACTIVATION_TIMEOUT=${BENTO_ACTIVATION_TIMEOUT:-600}
  export BENTO_RECOVERY_TIMEOUT=${BENTO_RECOVERY_TIMEOUT:-120}
  export BENTO_CONNECT_TIMEOUT=${BENTO_CONNECT_TIMEOUT:-20}
  # Seconds before a release that failed is tried again, the first time; it doubles each time.
  export BENTO_BACKOFF=${BENTO_BACKOFF:-300}
  # KiB that must be free where the store, and where /boot is, before anything is built or activated.
  export BENTO_MIN_FREE_STORE=${BENTO_MIN_FREE_STORE:-524288}
  export BENTO_MIN_FREE_BOOT=${BENTO_MIN_FREE_BOOT:-32768}
  export BENTO_BOOT=${BENTO_BOOT:-/boot}
  local name
  for name in BENTO_CONFIRM_TIMEOUT BENTO_CONFIRM_SETTLE BENTO_HEALTH_TIMEOUT BENTO_ACTIVATION_TIMEOUT \
    BENTO_RECOVERY_TIMEOUT BENTO_CONNECT_TIMEOUT BENTO_BACKOFF BENTO_MIN_FREE_STORE BENTO_MIN_FREE_BOOT; do
    whole_number "$name"
  done

  if [ -z "${BENTO_GUARD:-}" ]; then
    if [ -d /run/systemd/system ]; then BENTO_GUARD=systemd; else BENTO_GUARD=process; fi
  fi
  export BENTO_GUARD
  case $BENTO_GUARD in systemd | process) ;; *) bad_settings "BENTO_GUARD must be systemd or process, not '$BENTO_GUARD'" ;; esac
  case $BENTO_BUILD in auto | source | prebuilt) ;; *) bad_settings "BENTO_BUILD must be auto, source or prebuilt, not '$BENTO_BUILD'" ;; esac
  [[ $BENTO_HOST =~ ^[a-z0-9][a-z0-9-]{0,62}$ ]] || bad_settings "BENTO_HOST is no host name: '$BENTO_HOST'"

  fetcher=$(executable_of "$BENTO_FETCHER")
  reporter=$(executable_of "$BENTO_REPORTER")
  jq -e '.version == 1 and (.signers | type == "array")' "$BENTO_CONFIG" > /dev/null 2>&1 ||
    bad_settings "$BENTO_CONFIG is missing, or is not what 'bento render' makes"
  mkdir -p "$BENTO_STATE" "$BENTO_RUN" || bad_settings "$BENTO_STATE and $BENTO_RUN can't be made"
  mkdir -p "$BENTO_STATE/spool" "$BENTO_STATE/gcroots"
}

# A fetcher is one of those beside the agent, by its name, or any executable, by its path.
executable_of() {
  local file=$1
  case $1 in */*) ;; *) file=$agent/fetchers/$1 ;; esac
  [ -x "$file" ] || bad_settings "there is no fetcher '$1': use sftp, or the path of an executable"
  echo "$file"
}

# One attempt at a time. The lock goes with descriptor 9, which `apart` keeps from everything that may outlive the agent.
take_lock() {
  exec 9> "$BENTO_STATE/lock"
  flock -n 9
}

# apart COMMAND…: runs it without the lock.
apart() { "$@" 9>&-; }

# Seconds since the machine was started, which no clock setting changes.
uptime_seconds() {
  local up
  read -r up _ < /proc/uptime
  echo "${up%%.*}"
}

boot_id() { cat /proc/sys/kernel/random/boot_id; }
