# shellcheck shell=bash
# A machine that runs another system than its release's, which somebody has chosen: at the boot menu, or by activating it. They had a
# reason, so nothing drags it back: it stays until there is another release, or somebody at the machine says otherwise.

# is_started_apart: whether this machine was started with another system than the release's that boots by default.
is_started_apart() {
  local runs boots
  runs=$(running_system) && boots=$(booting_system) || return 1
  [ "$runs" != "$boots" ] && [ "$runs" = "$(readlink -f "$BENTO_BOOTED")" ] && [ "$boots" = "$(read_state applied.json .toplevel)" ] &&
    ! is_staged
}

# is_what_runs: whether the release that this machine has applied is what runs, and boots.
is_what_runs() {
  local applied
  applied=$(read_state applied.json .toplevel)
  [ -z "$applied" ] || { [ "$from" = "$applied" ] && [ "$(booting_system)" = "$applied" ]; }
}

# stay_with_other: the poll has nothing new, and something else than the release runs.
stay_with_other() {
  local release="release $manifest_sequence" again="'bento-agent upgrade --again' goes back to release $manifest_sequence"
  if is_started_apart; then
    say "this machine was started with $from instead: 'bento-agent rollback' stays with that for good, $again"
  elif [ "$from" = "$(read_state applied.json .toplevel)" ]; then
    say "$(booting_system) was made what boots instead: $again"
  else
    say "$from was activated by hand instead: $again"
  fi
  come_to other-system "$release is not what runs and boots here, and is not activated again"
}
