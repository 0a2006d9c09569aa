#!/bin/sh
# bento bootstrap: the way back to the Bento of 2022, in the place of its update.sh, which its timer runs in /var/bento. That timer
# is there only while the old system runs. So, unless a release is about to take effect, this puts back what was here, and the old
# Bento goes on. Not needed any more when the machine is to stay as it is: it may be removed, and /var/bento.2022 with it.
#
#   update.sh          put all back, and run the old update.sh
#   update.sh settle   put all back where the takeover has failed, and say so
{
  state=$PWD
  run=${BENTO_RUN:-/run/bento}

  running=${BENTO_RUNNING:-/run/current-system}

  # Whether the system that runs is a release, or has the agent that takes them.
  is_release() {
    [ -x "$running/sw/bin/bento-agent" ] || grep -qF "\"$(readlink -f "$running")\"" applied.json 2> /dev/null
  }

  # Whether a release waits for the restart after this boot.
  is_staged() { grep -qF "\"$(cat /proc/sys/kernel/random/boot_id)\"" trial.json 2> /dev/null; }

  # Whether the takeover goes on: its process, and not another one that has its number by now.
  goes_on() {
    [ ! -e "$run/bootstrap/status" ] && read -r pid 2> /dev/null < "$run/bootstrap/pid" &&
      grep -q "$run/bootstrap" "/proc/$pid/cmdline" 2> /dev/null
  }

  if is_release; then
    echo "takeover: done. The old things are in $state.2022, which may be removed; so may $state/update.sh, the way back"
    exit 0
  elif is_staged; then
    echo "takeover: done, from the next restart on. The old things are in $state.2022"
    exit 0
  elif [ "${1:-}" != settle ] && goes_on; then
    echo 'takeover: it is going on'
    exit 0
  elif [ ! -d "$state.2022" ]; then
    echo "takeover: there is no $state.2022 to go back to" >&2
    exit 1
  fi
  [ ! -e "$state.agent" ] || mv "$state.agent" "$state.agent.$(date +%s)"
  mv "$state" "$state.agent" && mv "$state.2022" "$state" && sync "${state%/*}" || exit 1
  echo "takeover: undone, the Bento of 2022 goes on; what the agent knows is in $state.agent"
  [ "${1:-}" != settle ] || exit 0
  cd "$state" && exec /bin/sh ./update.sh
  exit
}
