# shellcheck shell=bash
# Where everything is, and what utils/bento.json says. All of it can be moved by the environment, so that several
# hosts can live on one machine; what is not set is as on a machine of its own.

agent_version=0.1.0

bad_settings() {
  echo "bento-agent: $1" >&2
  exit 2
}

# What the agent and its own fetcher call, but for what every system has in its coreutils.
programs=(awk base64 flock grep gzip jq nix-env nix-store sed sftp sha256sum ssh-keygen timeout)

# whole_number NAME: the variable NAME must hold one.
whole_number() {
  [[ ${!1} =~ ^[0-9]{1,9}$ ]] || bad_settings "$1 must be a whole number, not '${!1}'"
}

load_settings() {
  local name missing=()
  for name in "${programs[@]}"; do command -v "$name" > /dev/null || missing+=("$name"); done
  [ "${#missing[@]}" -eq 0 ] || bad_settings "not in PATH: ${missing[*]}"

  export BENTO_HOST=${BENTO_HOST:-$(uname -n)}
  export BENTO_CONFIG=${BENTO_CONFIG:-$agent/../bento.json}
  export BENTO_STATE=${BENTO_STATE:-/var/bento}
  export BENTO_RUN=${BENTO_RUN:-/run/bento}
  export BENTO_KEY=${BENTO_KEY:-/etc/ssh/ssh_host_ed25519_key}
  export BENTO_PROFILE=${BENTO_PROFILE:-/nix/var/nix/profiles/system}
  export BENTO_RUNNING=${BENTO_RUNNING:-/run/current-system}
  export BENTO_BOOTED=${BENTO_BOOTED:-/run/booted-system}
  # A link to where this machine's secrets are in memory.
  export BENTO_SECRETS=${BENTO_SECRETS:-/run/bento-secrets}
  read_config
  export BENTO_FETCHER=${BENTO_FETCHER:-$default_fetcher}
  export BENTO_REPORTER=${BENTO_REPORTER:-$BENTO_FETCHER}
  export BENTO_SSH_CONFIG=${BENTO_SSH_CONFIG:-}
  export BENTO_BUILD=${BENTO_BUILD:-auto}
  # A directory of executables, each of which says by its exit status whether this machine does its job.
  export BENTO_HEALTH_CHECKS=${BENTO_HEALTH_CHECKS:-}
  # How often in a row a new system must prove itself.
  export BENTO_CONFIRM_PASSES=${BENTO_CONFIRM_PASSES:-3}
  # Seconds: from the activation to the last moment for its confirmation; over which those passes are spread; for one
  # health check; for the activation itself; for contact to come back after a rollback.
  export BENTO_CONFIRM_TIMEOUT=${BENTO_CONFIRM_TIMEOUT:-180}
  export BENTO_CONFIRM_SETTLE=${BENTO_CONFIRM_SETTLE:-20}
  export BENTO_HEALTH_TIMEOUT=${BENTO_HEALTH_TIMEOUT:-30}
  export BENTO_ACTIVATION_TIMEOUT=${BENTO_ACTIVATION_TIMEOUT:-600}
  export BENTO_RECOVERY_TIMEOUT=${BENTO_RECOVERY_TIMEOUT:-120}
  export BENTO_CONNECT_TIMEOUT=${BENTO_CONNECT_TIMEOUT:-20}
  # What the guard leaves beyond these, and how long a poll may take.
  export BENTO_GUARD_SLACK=${BENTO_GUARD_SLACK:-30}
  export BENTO_POLL_TIMEOUT=${BENTO_POLL_TIMEOUT:-120}
  # Seconds in which nothing more comes of a release, or of a build, before it is ended, see lib/watched.sh; and for the whole fetch by
  # another fetcher than Bento's own, of which nobody knows what has come.
  export BENTO_FETCH_SILENCE=${BENTO_FETCH_SILENCE:-600}
  export BENTO_FETCH_TIMEOUT=${BENTO_FETCH_TIMEOUT:-86400}
  export BENTO_BUILD_SILENCE=${BENTO_BUILD_SILENCE:-21600}
  # Whether the fleet's binary caches are asked beside this machine's own: fleet or none. Seconds for a connection to a
  # cache; for its first answer, and for any silence of it.
  export BENTO_CACHES=${BENTO_CACHES:-fleet}
  export BENTO_CACHE_CONNECT_TIMEOUT=${BENTO_CACHE_CONNECT_TIMEOUT:-3}
  export BENTO_CACHE_DEADLINE=${BENTO_CACHE_DEADLINE:-15}
  # Bytes a second that its downloads must bring, on the average of so many seconds; 0 is any.
  export BENTO_CACHE_SPEED=${BENTO_CACHE_SPEED:-1000}
  export BENTO_CACHE_SPEED_TIME=${BENTO_CACHE_SPEED_TIME:-300}
  # Seconds before a release that failed is tried again, the first time; it doubles each time.
  export BENTO_BACKOFF=${BENTO_BACKOFF:-300}
  # Reports of this host that stay on the server.
  export BENTO_KEEP_REPORTS=${BENTO_KEEP_REPORTS:-50}
  # KiB that must be free where the store is, and where kernels are, before anything is built or activated. BENTO_BOOT names the
  # places where the boot loader keeps kernels, separated by spaces, and BENTO_BOOT_LOADER where it is itself, if that is elsewhere.
  export BENTO_MIN_FREE_STORE=${BENTO_MIN_FREE_STORE:-524288}
  export BENTO_MIN_FREE_BOOT=${BENTO_MIN_FREE_BOOT:-32768}
  export BENTO_BOOT=${BENTO_BOOT:-/boot}
  export BENTO_BOOT_LOADER=${BENTO_BOOT_LOADER:-}
  read -ra boot_places <<< "$BENTO_BOOT"
  read -ra loader_places <<< "$BENTO_BOOT_LOADER"
  # When this machine may be restarted: never, now (when it is needed), or in the window, from one time of day to
  # another. BENTO_REBOOT_COMMAND is an executable that restarts it, which is told why.
  export BENTO_REBOOT=${BENTO_REBOOT:-never}
  export BENTO_REBOOT_WINDOW=${BENTO_REBOOT_WINDOW:-02:00-05:00}
  export BENTO_REBOOT_KEXEC=${BENTO_REBOOT_KEXEC:-0}
  export BENTO_REBOOT_COMMAND=${BENTO_REBOOT_COMMAND:-}
  # Seconds that the contact which a release has broken may stay away, although the system before it runs again, before
  # this machine is restarted into that; 0 never does.
  export BENTO_LAST_RESORT=${BENTO_LAST_RESORT:-0}
  # Both empty unless services.bento.notifications says otherwise; see lib/notify.sh.
  export BENTO_NOTIFY_SEND=${BENTO_NOTIFY_SEND:-}
  export BENTO_NOTIFY_COMMAND=${BENTO_NOTIFY_COMMAND:-}
  # When this machine polls, in the form of systemd.time(7); empty where nobody knows.
  export BENTO_INTERVAL=${BENTO_INTERVAL:-}
  # The systemd unit whose service makes attempts, and whose timer starts it; empty where there is none.
  export BENTO_UNIT=${BENTO_UNIT:-}
  # Which inputs of its flake this machine updates by itself, separated by spaces, or all; and after how many seconds.
  export BENTO_SELF_UPDATE=${BENTO_SELF_UPDATE:-}
  export BENTO_SELF_UPDATE_INTERVAL=${BENTO_SELF_UPDATE_INTERVAL:-86400}
  for name in BENTO_CONFIRM_PASSES BENTO_CONFIRM_TIMEOUT BENTO_CONFIRM_SETTLE BENTO_HEALTH_TIMEOUT BENTO_ACTIVATION_TIMEOUT \
    BENTO_RECOVERY_TIMEOUT BENTO_CONNECT_TIMEOUT BENTO_GUARD_SLACK BENTO_POLL_TIMEOUT \
    BENTO_FETCH_SILENCE BENTO_FETCH_TIMEOUT BENTO_BUILD_SILENCE \
    BENTO_BACKOFF BENTO_KEEP_REPORTS BENTO_LAST_RESORT \
    BENTO_CACHE_CONNECT_TIMEOUT BENTO_CACHE_DEADLINE BENTO_CACHE_SPEED BENTO_CACHE_SPEED_TIME \
    BENTO_SELF_UPDATE_INTERVAL BENTO_MIN_FREE_STORE BENTO_MIN_FREE_BOOT; do
    whole_number "$name"
  done

  if [ -z "${BENTO_GUARD:-}" ]; then
    if [ -d /run/systemd/system ]; then BENTO_GUARD=systemd; else BENTO_GUARD=process; fi
  fi
  export BENTO_GUARD
  case $BENTO_GUARD in
    systemd | process) ;;
    *) bad_settings "BENTO_GUARD must be systemd or process, not '$BENTO_GUARD'" ;;
  esac
  case $BENTO_BUILD in
    auto | source | prebuilt) ;;
    *) bad_settings "BENTO_BUILD must be auto, source or prebuilt, not '$BENTO_BUILD'" ;;
  esac
  case $BENTO_CACHES in
    fleet | none) ;;
    *) bad_settings "BENTO_CACHES must be fleet or none, not '$BENTO_CACHES'" ;;
  esac
  case $BENTO_REBOOT in
    never | now | window) ;;
    *) bad_settings "BENTO_REBOOT must be never, now or window, not '$BENTO_REBOOT'" ;;
  esac
  [[ $BENTO_REBOOT_WINDOW =~ ^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$ ]] ||
    bad_settings "BENTO_REBOOT_WINDOW must be like 02:00-05:00, not '$BENTO_REBOOT_WINDOW'"
  [[ $BENTO_HOST =~ ^[a-z0-9][a-z0-9-]{0,62}$ ]] || bad_settings "BENTO_HOST is no host name: '$BENTO_HOST'"

  # A typing error here would mean that nothing is checked.
  [ -z "$BENTO_HEALTH_CHECKS" ] || [ -d "$BENTO_HEALTH_CHECKS" ] ||
    bad_settings "BENTO_HEALTH_CHECKS is no directory: $BENTO_HEALTH_CHECKS"

  fetcher=$(executable_of "$BENTO_FETCHER")
  reporter=$(executable_of "$BENTO_REPORTER")
  [ "$fetcher" != "$agent/fetchers/git" ] || command -v git > /dev/null || bad_settings "not in PATH: git"
}

# make_places: the directories that the agent writes to.
make_places() {
  local said
  said=$(mkdir -p "$BENTO_STATE/spool" "$BENTO_STATE/gcroots" "$BENTO_RUN" 2>&1) || bad_settings "${said%%$'\n'*}"
  for said in "$BENTO_STATE" "$BENTO_STATE/spool" "$BENTO_RUN"; do
    [ -w "$said" ] || bad_settings "$said can't be written to; the agent runs as root"
  done
}

# read_config: sets $default_fetcher, and $allowed_signers to the text of an ssh-keygen(1) file. Where the fleet's only way out
# is git, there is no need to say so on every host.
read_config() {
  local text
  [ -e "$BENTO_CONFIG" ] || bad_settings "$BENTO_CONFIG is missing; it is utils/bento.json of the fleet"
  [ -r "$BENTO_CONFIG" ] || bad_settings "$BENTO_CONFIG can't be read"
  text=$(jq -er '
    if .version == 1 and (.signers | type == "array" and all(type == "string")) then . else error("another version") end
    | (if .server == null and .git != null then "git" else "sftp" end),
      (.signers[] | "bento namespaces=\"bento-release\" \(.)")
  ' "$BENTO_CONFIG" 2> /dev/null) || bad_settings "$BENTO_CONFIG is not what 'bento render' makes"
  default_fetcher=${text%%$'\n'*}
  allowed_signers=${text#"$default_fetcher"}
}

# A fetcher is one of those beside the agent, by its name, or any executable, by its path.
executable_of() {
  local file=$1
  case $1 in */*) ;; *) file=$agent/fetchers/$1 ;; esac
  [ -x "$file" ] || bad_settings "there is no fetcher '$1': use sftp, git, or the path of an executable"
  echo "$file"
}

# One attempt at a time. The lock goes with descriptor 9, which `apart` keeps from everything that may outlive the
# agent.
take_lock() {
  exec 9> "$BENTO_RUN/lock"
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

# awake_seconds: the same without those that the machine was asleep, where the kernel tells (its monotonic clock): what is to happen
# within a time would have had nothing of them. agent/guard has the same.
awake_seconds() {
  local up
  if { read -r up && read -r up && read -r _ _ up _; } 2> /dev/null < /proc/timer_list && [[ $up =~ ^[0-9]{10,}$ ]]; then
    echo "${up%?????????}"
  else
    uptime_seconds
  fi
}

boot_id() {
  local id
  read -r id < /proc/sys/kernel/random/boot_id
  echo "$id"
}

# utc FORMAT: the time now, as date(1) has it, which would be one program more for every line of a log.
utc() {
  local -x TZ=UTC0
  printf "%($1)T" -1
}
