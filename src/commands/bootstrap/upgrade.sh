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
# shellcheck source=takeover.sh
. "$here/takeover.sh"

# put FILE TEXT: whoever waits for it never sees half of it.
put() { echo "$2" > "$dir/$1.new" && mv "$dir/$1.new" "$dir/$1"; }

end() {
  put status "$1"
  exit "$1"
}

# Neither the agent nor what it starts has the lock: its guard may be there longer.
upgrade() { bash "$here/agent/bento-agent" upgrade 8>&-; }

main() {
  trap '' HUP PIPE
  exec 8> "$dir/lock"
  flock -n 8 || exit 75
  exec > "$dir/log" 2>&1
  put pid $$

  take_over || end $?
  # An attempt that was cut off is brought to its end first, which is an attempt of its own.
  if [ -e "$state/intent.json" ]; then upgrade || true; fi
  status=0
  upgrade || status=$?
  settle_takeover || [ "$status" -ne 0 ] || status=1
  end "$status"
}

main < /dev/null
