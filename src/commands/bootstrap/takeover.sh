# shellcheck shell=sh
# A machine that the 2022 Bento looks after: its timer runs update.sh in /var/bento. All that is there moves to /var/bento.2022,
# and nothing of it is deleted. In its place comes the agent's state, with an update.sh of ours, the way back: whatever becomes of
# the takeover (power lost, the machine back in its old system), the old timer itself finds that and puts all back.
#
#   /var/bento        the agent's state, and the way back
#   /var/bento.2022   what was in /var/bento
#   /var/bento.agent  the agent's state where the old Bento goes on, until it is taken over again
#
# Each step is one rename, so that it can be cut off anywhere and run again. upgrade, which reads this, sets $state and $here.
# shellcheck disable=SC2154

takeover() { echo "takeover: $1"; }

# is_ours FILE: whether an update.sh is the way back.
is_ours() { grep -q '^# bento bootstrap: the way back' "$1" 2> /dev/null; }

take_over() {
  # Cut off between two renames.
  if [ ! -e "$state" ] && [ -d "$state.2022" ] && [ -d "$state.agent" ]; then
    takeover 'goes on where it was cut off'
    mv "$state.agent" "$state" && sync "${state%/*}"
    return
  fi
  if [ ! -e "$state/update.sh" ] || is_ours "$state/update.sh"; then return 0; fi
  takeover 'the Bento of 2022 looks after this machine'
  stop_old_timer || return 75
  set_aside "$state.2022"
  if ! exchange; then
    start_old_timer
    return 1
  fi
  takeover "what was in $state is in $state.2022 now"
  # It finds the way back there, should this not come to an end.
  start_old_timer
}

exchange() {
  mkdir -p "$state.agent" &&
    cp "$here/way-back" "$state.agent/.update.sh.new" &&
    mv "$state.agent/.update.sh.new" "$state.agent/update.sh" &&
    sync "$state.agent/update.sh" "$state.agent" &&
    mv "$state" "$state.2022" &&
    mv "$state.agent" "$state" &&
    sync "${state%/*}"
}

# set_aside DIRECTORY: one of an earlier takeover keeps its contents, under another name.
set_aside() { [ ! -e "$1" ] || mv "$1" "$1.$(date +%s)"; }

# stop_old_timer: fails when an upgrade of the old Bento is going on, which is left to come to its end.
stop_old_timer() {
  has_systemd || return 0
  systemctl stop bento-upgrade.timer || true
  case $(systemctl show --property=ActiveState bento-upgrade.service) in
    *=active | *=activating | *=deactivating)
      start_old_timer
      takeover 'an upgrade of its own is going on: run this again when that has ended (systemctl status bento-upgrade)'
      return 1
      ;;
  esac
  takeover 'stopped its timer'
}

start_old_timer() { ! has_systemd || systemctl start bento-upgrade.timer || true; }

has_systemd() { [ -d /run/systemd/system ] && [ "${BENTO_GUARD:-systemd}" = systemd ]; }

# settle_takeover: after the upgrade. The way back itself knows whether it is needed.
settle_takeover() {
  is_ours "$state/update.sh" || return 0
  (cd "$state" && sh ./update.sh settle)
}
