# shellcheck shell=bash
# The guard: something other than the agent that puts the recorded system back unless it is disarmed in time. It needs
# neither the agent nor the new system: it outlives the one, and runs the recorded system's own program.
#
# Its directory below BENTO_RUN has `armed`, which either disarm_guard or the guard moves away, so that exactly one of them
# wins; and afterwards `disarmed`, or `fired` and then `done`.

# arm_guard FROM DEADLINE: DEADLINE in uptime seconds. Sets $guard.
arm_guard() {
  guard=$BENTO_RUN/guard-$$-$RANDOM
  mkdir -p "$guard"
  printf '%s\n' "$1" > "$guard/from"
  printf '%s\n' "$2" > "$guard/deadline"
  : > "$guard/armed"
  local watcher=("$BASH" "$agent/guard" "$guard")
  if [ "$BENTO_GUARD" = systemd ]; then
    local wait=$(($2 - $(uptime_seconds)))
    # A name of its own each time: one that failed before would be in the way.
    apart systemd-run --quiet --unit "bento-guard-$$-$RANDOM" --on-active="$((wait > 1 ? wait : 1))" --timer-property=AccuracySec=1s \
      --setenv=PATH="$PATH" -- "${watcher[@]}" 2>> "${attempt_log:-/dev/null}" || return 1
  else
    apart setsid "${watcher[@]}" < /dev/null > /dev/null 2>&1 &
  fi
}

# disarm_guard: fails when the guard was faster.
disarm_guard() { mv -T "$guard/armed" "$guard/disarmed" 2> /dev/null; }
