# shellcheck shell=bash
# The guard: something other than the agent that puts the recorded system back unless it is disarmed in time. It needs
# neither the agent nor the new system: it outlives the one, and runs the recorded system's own program.
#
# Its directory below BENTO_RUN has `armed`, which either disarm_guard or the guard moves away, so that exactly one of
# them wins; and afterwards `disarmed`, or `fired` and then `done`. A restart ends the guard, and empties BENTO_RUN:
# what boots then is the recorded system anyway.

# name_guard: sets $guard, so that the intent on disk can name it before it is armed.
name_guard() { guard=$BENTO_RUN/guard-$$-$RANDOM; }

# arm_guard FROM DEADLINE: DEADLINE in seconds that this machine was awake.
arm_guard() {
  mkdir -p "$guard" && printf '%s\n' "$1" > "$guard/from" && printf '%s\n' "$2" > "$guard/deadline" &&
    note_secrets "$1" && : > "$guard/armed" || return 1
  local watcher=("$BASH" "$agent/guard" "$guard")
  if [ "$BENTO_GUARD" = systemd ]; then
    local wait=$(($2 - $(awake_seconds))) property properties=()
    # Nothing but a shutdown ends it: not emergency mode, which ends all that it isn't told to leave, and what needs that.
    for property in DefaultDependencies=no IgnoreOnIsolate=yes Conflicts=shutdown.target Before=shutdown.target; do
      properties+=(--property="$property" --timer-property="$property")
    done
    # A name of its own each time: one that failed before would be in the way.
    logged systemd-run --quiet --unit "bento-${guard##*/}" --on-active="$((wait > 1 ? wait : 1))" \
      --timer-property=AccuracySec=1s "${properties[@]}" --setenv=PATH="$PATH" -- "${watcher[@]}"
  else
    # Without `apart`: in the background that would be one more shell, which waits for the guard and has the lock.
    setsid "${watcher[@]}" 9>&- < /dev/null > /dev/null 2>&1 &
    await 10 test -e "$guard/watching"
  fi
}

# disarm_guard: fails when the guard was faster.
disarm_guard() { [ -n "$guard" ] && mv -T "$guard/armed" "$guard/disarmed" 2> /dev/null; }

# forget_guard: takes away what is left of one that has no more to do.
forget_guard() {
  [ -n "$guard" ] || return 0
  rm -rf "$guard"
  [ "$BENTO_GUARD" != systemd ] || systemctl stop "bento-${guard##*/}.timer" 2> /dev/null || true
}

# wait_for_guard: the guard has won; it takes the time that an activation takes. Fails when it was ended before it was done.
wait_for_guard() {
  [ -e "$guard/fired" ] || return 0
  await "$((BENTO_ACTIVATION_TIMEOUT + 10))" guard_is_over && [ -e "$guard/done" ]
}

# guard_is_over: whether it is done, or gone. One of an agent before this one doesn't say which process it is.
guard_is_over() {
  local pid=
  [ ! -e "$guard/done" ] || return 0
  read -r pid 2> /dev/null < "$guard/watching" || return 1
  [ -n "$pid" ] && ! grep -qzxF -e "$guard" "/proc/$pid/cmdline" 2> /dev/null
}

# await SECONDS COMMAND…: until it succeeds.
await() {
  local deadline=$(($(awake_seconds) + $1))
  shift
  until "$@"; do
    [ "$(awake_seconds)" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}
