#!/bin/sh
# upgrade DIRECTORY: the part of bootstrap that a lost connection, or whoever started it going away, can't cut off. What it says
# is in DIRECTORY/log, its process in DIRECTORY/pid, and in the end its exit status in DIRECTORY/status.
set -u
umask 077
dir=$1
here=$(dirname "$0")
# For takeover.sh.
# shellcheck disable=SC2034
state=${BENTO_STATE:-/var/bento}

# shellcheck source-path=SCRIPTDIR
# shellcheck source=bootstrap-takeover.sh
. "$here/takeover.sh"

end() {
  echo "$1" > "$dir/status.new"
  mv "$dir/status.new" "$dir/status"
  exit "$1"
}

# Neither the agent nor what it starts has the lock: its guard may be there longer.
upgrade() { bash "$here/agent/bento-agent" upgrade 8>&-; }

main() {
  trap '' HUP PIPE
  exec 8> "$dir/lock"
  flock -n 8 || exit 75
  exec > "$dir/log" 2>&1
  echo $$ > "$dir/pid"

  take_over || end $?
  # An attempt that was cut off is brought to its end first, which is an attempt of its own.
  if [ -e "$state/intent.json" ]; then upgrade || true; fi
  status=0
  upgrade || status=$?
  settle_takeover
  end "$status"
}

main < /dev/null
